package peer

import "context"

// handshake gives what a DTLS handshake goes by. It ends with the connection:
// pion's closing and its beginning of a handshake may miss each other, and then a
// DTLS server waits for a first packet that nobody can bring it.
func (c *Conn) handshake() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		cancel()
		return ctx, cancel
	}
	c.tasks.Go(func() {
		select {
		case <-c.stop:
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, cancel
}
