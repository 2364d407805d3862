package peer

import (
	"testing"
	"time"
)

// TestHandshakesEndWithTheirConnection: also one that begins when the connection is
// closed already, and whose first packet nobody can bring any more.
func TestHandshakesEndWithTheirConnection(t *testing.T) {
	c := connect(t, newTestFactory(t, Config{}), Options{})
	early, cancel := c.handshake()
	defer cancel()
	if err := early.Err(); err != nil {
		t.Fatalf("before Close: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-early.Done():
	case <-time.After(closeWait):
		t.Error("the handshake goes on after Close")
	}
	late, cancel := c.handshake()
	defer cancel()
	if late.Err() == nil {
		t.Error("a handshake begins after Close")
	}
}

// TestFactoryWaitsForConnectionsBeingClosed: those that somebody else has begun to
// close, for as long as for others.
func TestFactoryWaitsForConnectionsBeingClosed(t *testing.T) {
	ours, theirs := newTestFactory(t, Config{}), newTestFactory(t, Config{})
	entered, release := make(chan struct{}), make(chan struct{})
	a := connect(t, ours, Options{OnMessage: func(Message, <-chan struct{}) {
		close(entered)
		<-release
	}})
	up := make(chan struct{})
	b := connect(t, theirs, Options{OnState: func(s State) {
		if s == Connected {
			close(up)
		}
	}})
	offer, err := a.Offer() // with its candidates
	if err != nil {
		t.Fatal(err)
	}
	answer, err := b.Answer(offer)
	if err == nil {
		err = a.Accept(answer)
	}
	if err == nil {
		err = b.Send(Messages, []byte(`{}`))
	}
	if err != nil {
		t.Fatal(err)
	}
	<-up
	<-entered
	closing := make(chan struct{})
	go func() {
		defer close(closing)
		_ = a.Close()
	}()
	for a.State() != Closed {
		time.Sleep(time.Millisecond)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = ours.Close()
	}()
	select {
	case <-done:
		t.Error("the factory is closed before a connection of it is")
	case <-time.After(100 * time.Millisecond):
	}
	close(release)
	<-done
	<-closing
}
