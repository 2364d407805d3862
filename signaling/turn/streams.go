package turn

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// streams makes one packet socket of all connections to a TCP or TLS listener
// (RFC 8656 §2.1).
type streams struct {
	listener
	from   net.Listener
	frames chan frame
	closed chan struct{}
	once   sync.Once

	mu    sync.Mutex
	conns map[netip.AddrPort]*stream
}

// frame is a message or channel data of a client, or nil when it is gone. The
// reader waits for done before it uses the buffer again.
type frame struct {
	data []byte
	addr net.Addr
	done chan<- struct{}
}

func newStreams(s *Server, l net.Listener) *streams {
	t := &streams{
		listener: listener{server: s, clients: map[netip.AddrPort]*client{}},
		from:     l, frames: make(chan frame), closed: make(chan struct{}),
		conns: map[netip.AddrPort]*stream{},
	}
	t.holds = t.busy
	return t
}

// accept takes in connections until the listener is closed.
func (t *streams) accept() {
	for {
		c, err := t.from.Accept()
		if err != nil {
			select {
			case <-t.closed:
				return
			case <-time.After(100 * time.Millisecond): // no file descriptors left, perhaps
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		t.welcome(c)
	}
}

// welcome runs a connection, unless it is one too many.
func (t *streams) welcome(c net.Conn) {
	s, from := t.server, addrPort(c.RemoteAddr())
	why := tooFast
	if s.starts.allow(from.Addr(), time.Now()) {
		why = s.conns.take("", from.Addr())
	}
	if why != none {
		s.refuse(why, from, "")
		abort(c)
		return
	}
	st := &stream{conn: c, out: make(chan []byte, outgoing), gone: make(chan struct{})}
	_ = c.SetDeadline(time.Now().Add(s.cfg.idle))
	t.mu.Lock()
	t.conns[from] = st
	t.mu.Unlock()
	if !s.add() {
		t.farewell(st, from)
		return
	}
	s.counters.connections.Add(1)
	s.wg.Go(func() { st.write() })
	go func() {
		defer s.wg.Done()
		t.read(st)
		t.farewell(st, from)
	}()
}

func (t *streams) farewell(st *stream, from netip.AddrPort) {
	st.close()
	select {
	case t.frames <- frame{addr: st.conn.RemoteAddr()}:
	case <-t.closed:
	}
	t.mu.Lock()
	if t.conns[from] == st {
		delete(t.conns, from)
	}
	t.mu.Unlock()
	t.server.conns.release("", from.Addr())
}

// read gives pion what comes, frame by frame.
func (t *streams) read(st *stream) {
	r := bufio.NewReaderSize(st.conn, 4096)
	b := make([]byte, maxFrame+1)
	done := make(chan struct{})
	for {
		n, err := readFrame(r, b[:maxFrame])
		if err != nil {
			return
		}
		select {
		case t.frames <- frame{data: b[:n], addr: st.conn.RemoteAddr(), done: done}:
			<-done
		case <-t.closed:
			return
		case <-st.gone:
			return
		}
	}
}

var errFrame = errors.New("neither STUN nor channel data")

// readFrame reads one message or channel data with its padding (RFC 8656 §12.5).
func readFrame(r *bufio.Reader, b []byte) (int, error) {
	head, err := r.Peek(4)
	if err != nil {
		return 0, err
	}
	n := int(binary.BigEndian.Uint16(head[2:]))
	switch head[0] & 0xc0 {
	case 0x00:
		if n%4 != 0 {
			return 0, errFrame
		}
		n += headerLen
	case 0x40:
		n = 4 + (n+3)&^3
	default:
		return 0, errFrame
	}
	if n > len(b) {
		return 0, errFrame
	}
	return io.ReadFull(r, b[:n])
}

// ReadFrom gives pion the next frame.
func (t *streams) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		select {
		case f := <-t.frames:
			if f.data == nil {
				t.end(addrPort(f.addr))
				continue
			}
			n := copy(b, f.data)
			f.done <- struct{}{}
			if t.admits(b[:n], addrPort(f.addr), time.Now()) {
				return n, f.addr, nil
			}
		case <-t.closed:
			return 0, nil, net.ErrClosed
		}
	}
}

// WriteTo sends to a client, later; what it has no room for is lost.
func (t *streams) WriteTo(b []byte, to net.Addr) (int, error) {
	addr := addrPort(to)
	t.answered(b, addr, time.Now())
	t.mu.Lock()
	st := t.conns[addr]
	t.mu.Unlock()
	if st == nil {
		return 0, net.ErrClosed
	}
	select {
	case st.out <- append([]byte(nil), b...):
	default:
		t.server.counters.lost.Add(1)
	}
	return len(b), nil
}

// busy follows whether a client has an allocation: one that has none is not
// waited for.
func (t *streams) busy(from netip.AddrPort, allocated bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	st := t.conns[from]
	switch {
	case st == nil:
	case allocated:
		_ = st.conn.SetReadDeadline(time.Time{})
	default:
		_ = st.conn.SetReadDeadline(time.Now().Add(t.server.cfg.idle))
	}
}

// Close closes the listener and all connections.
func (t *streams) Close() error {
	err := net.ErrClosed
	t.once.Do(func() {
		close(t.closed)
		err = t.from.Close()
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, st := range t.conns {
			st.close()
		}
	})
	return err
}

func (t *streams) LocalAddr() net.Addr { return t.from.Addr() }

// The deadlines of a packet socket are not used.
func (t *streams) SetDeadline(time.Time) error      { return nil }
func (t *streams) SetReadDeadline(time.Time) error  { return nil }
func (t *streams) SetWriteDeadline(time.Time) error { return nil }

// stream is one connection.
type stream struct {
	conn net.Conn
	out  chan []byte
	gone chan struct{}
	once sync.Once
}

func (st *stream) write() {
	for {
		select {
		case b := <-st.out:
			_ = st.conn.SetWriteDeadline(time.Now().Add(writeTime))
			if _, err := st.conn.Write(b); err != nil {
				st.close()
				return
			}
		case <-st.gone:
			return
		}
	}
}

func (st *stream) close() {
	st.once.Do(func() {
		close(st.gone)
		abort(st.conn)
	})
}

// abort closes a connection without the farewell of TLS, which may take time.
func abort(c net.Conn) {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn()
	}
	_ = c.Close()
}
