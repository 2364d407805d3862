package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/message"
)

// ForwardedError is the error of Dial for a room that is no mesh: its server forwards
// what everybody sends, and is the only peer, as message.SFU. Nobody can tell
// before the join. It has joined, so whoever knows such rooms calls Open, and
// others Close.
type ForwardedError struct {
	// Config is that of Dial with its defaults filled in.
	Config Config
	dialer dialer
	first  *welcome // until Open takes it
}

// Error implements error.
func (f *ForwardedError) Error() string {
	return fmt.Sprintf("%s: %v: the room's server forwards, and this is for rooms that don't", f.dialer.shown, signaling.ErrJoin)
}

// Unwrap gives signaling.ErrJoin.
func (f *ForwardedError) Unwrap() error { return signaling.ErrJoin }

// Close leaves the room if Open has not taken over.
func (f *ForwardedError) Close() {
	if f.first != nil {
		_ = f.first.conn.CloseNow() // we leave anyway
		f.first = nil
	}
}

// forwards tells by the answer to a join whether the server does.
func (w *welcome) forwards() bool { return slices.Equal(w.peers, []string{message.SFU}) }

var errNoForwarding = errors.New("the room was forwarded before, and is a mesh now")

// Resume says where a link goes on: the Token that the server gave for one that has
// ended, and how many messages were Received by it, and by those that it went on for.
// The zero value is a new beginning.
type Resume struct {
	Token    string
	Received uint64
}

// Link is a WebSocket in a room.
type Link struct {
	welcome *welcome
	socket  *socket // nil before Serve
	// KeepsID tells whether the server lets us join again under the same id while
	// it may not know yet that this link is dead.
	KeepsID bool
	// Token lets another link go on when this one has died; "": the server lets none.
	Token string
	// Resumed is set when this one does: what the server has sent after Resume.Received
	// comes again, and the server has got Received of our messages.
	Resumed  bool
	Received uint64
}

// Open gives a link to the room: the one that Dial has opened the first time, and
// then a new one by joining again as id, or resuming. When the server does not let us go
// on it is a new beginning. One goroutine at a time calls Open.
func (f *ForwardedError) Open(ctx context.Context, id string, from Resume) (*Link, error) {
	w := f.first
	f.first = nil
	if w == nil {
		var err error
		if w, err = f.dialer.join(ctx, id, &from); err != nil {
			return nil, err
		}
		if !w.forwards() {
			_ = w.conn.CloseNow() // it is of no use
			return nil, errNoForwarding
		}
	}
	l := &Link{welcome: w, KeepsID: w.keepID, Token: w.token}
	if from.Token != "" && w.received != nil {
		l.Resumed, l.Received = true, *w.received
	}
	return l, nil
}

// Serve begins to read and write. Each message is given to deliver, one after the
// other; those that can't be read are the zero Message. down is called once with the
// reason when the link dies other than by Close: ErrReplaced is one. Both are called on
// goroutines of the link.
func (l *Link) Serve(deliver func(message.Message), down func(error)) {
	l.socket = newSocket(l.welcome, l.welcome.early, func(m message.Message, _ error) { deliver(m) }, down)
}

// Send queues a message, or ends the link when the server does not read.
func (l *Link) Send(m message.Message) { l.socket.send(m) }

// Close leaves, and ends the link's goroutines, within about half a second. deliver
// is not called afterwards. It must not be called by deliver or down.
func (l *Link) Close() {
	if l.socket == nil {
		_ = l.welcome.conn.CloseNow() // we leave anyway
		return
	}
	l.socket.close()
}
