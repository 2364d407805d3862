package mesh

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// newClient makes the HTTP client that opens WebSockets.
func newClient() *http.Client {
	d := net.Dialer{Timeout: 30 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Client{CheckRedirect: checkRedirect, Transport: &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		DisableKeepAlives: true, // leaves no goroutine behind
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := d.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &politeConn{Conn: c, spoken: make(chan struct{})}, nil
		},
	}}
}

// checkRedirect ends what may go round in circles. The WebSocket library takes
// net/http's own limit away.
func checkRedirect(_ *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("the server redirects more than %d times", maxRedirects)
	}
	return nil
}

// politeConn is a connection that listens only after it has spoken. Some other
// kind of server may greet its clients, which net/http takes for an answer
// without a question and logs past everybody's logger; so it becomes a bad
// answer to our question.
type politeConn struct {
	net.Conn
	once   sync.Once
	spoken chan struct{}
}

func (c *politeConn) Read(b []byte) (int, error) {
	<-c.spoken
	return c.Conn.Read(b)
}

func (c *politeConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.once.Do(func() { close(c.spoken) })
	return n, err
}

func (c *politeConn) Close() error {
	c.once.Do(func() { close(c.spoken) })
	return c.Conn.Close()
}
