//go:build integration

package server_test

import (
	"net"
	"net/http/httptest"
)

// listen makes a test server listen where another did.
func listen(ts *httptest.Server, addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	_ = ts.Listener.Close()
	ts.Listener = l
	return nil
}
