package peer

import (
	"fmt"

	"github.com/pion/webrtc/v4"
)

// Messages is the label of the data channel that the field's clients use.
const Messages = "messages"

// channel is a data channel that Send writes to.
type channel struct {
	dc     *webrtc.DataChannel
	ours   bool
	open   bool
	unsent []string
}

// open opens a data channel, unless we have one of this label.
func (c *Conn) open(label string) error {
	c.mu.Lock()
	ch := c.channels[label]
	c.mu.Unlock()
	if ch != nil && ch.ours {
		return nil
	}
	dc, err := c.pc.CreateDataChannel(label, nil) // nil is ordered and reliable
	if err != nil {
		return c.or(err)
	}
	c.use(dc, true)
	return nil
}

// accepts takes a data channel that the peer has opened.
func (c *Conn) accepts(dc *webrtc.DataChannel) {
	c.mu.Lock()
	c.opened++
	full := c.opened > MaxChannels
	if full {
		c.fail(errChannels)
	}
	c.mu.Unlock()
	if !full {
		c.use(dc, false)
	}
}

func (c *Conn) use(dc *webrtc.DataChannel, ours bool) {
	label := dc.Label()
	ch := &channel{dc: dc, ours: ours}
	c.mu.Lock()
	if old := c.channels[label]; old == nil || !old.ours {
		c.channels[label] = ch
	}
	c.mu.Unlock()
	if c.opts.OnMessage != nil {
		dc.OnMessage(func(m webrtc.DataChannelMessage) {
			if m.IsString {
				c.opts.OnMessage(label, m.Data)
			}
		})
	}
	dc.OnOpen(func() {
		c.mu.Lock()
		ch.open = true
		unsent := ch.unsent
		ch.unsent = nil
		c.mu.Unlock()
		for _, text := range unsent {
			_ = dc.SendText(text)
		}
	})
	dc.OnClose(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.channels[label] == ch {
			delete(c.channels, label)
		}
	})
}

// Send sends a text message on the data channel with this label: ours, or else
// one that the peer has opened. Before the channel is open, a few messages wait
// for it. The error wraps ErrChannel when there is no such channel.
func (c *Conn) Send(label string, text []byte) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	ch := c.channels[label]
	if ch == nil {
		c.mu.Unlock()
		return fmt.Errorf("%w: %q", ErrChannel, label)
	}
	if !ch.open {
		defer c.mu.Unlock()
		if len(ch.unsent) >= maxUnsent {
			return fmt.Errorf("%w: %d messages wait for data channel %q to open", ErrLimit, maxUnsent, label)
		}
		ch.unsent = append(ch.unsent, string(text))
		return nil
	}
	c.mu.Unlock()
	if err := ch.dc.SendText(string(text)); err != nil {
		return fmt.Errorf("peer: sending on data channel %q: %w", label, c.or(err))
	}
	return nil
}
