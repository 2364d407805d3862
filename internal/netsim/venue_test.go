package netsim_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/pion/transport/v4"

	"github.com/roomtape/roomtape/internal/netsim"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling/mesh"
	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/peer"
	"github.com/roomtape/roomtape/signaling/server"
	"github.com/roomtape/roomtape/signaling/server/unit"
)

// venue is a whole mesh room in fake time: a real server over pipes, a real
// recorder who has come first, and people.
type venue struct {
	*netsim.Net
	t    *testing.T
	dir  string
	host transport.Net // the recorder's
	done chan error
	unit *unit.Unit // what forwards; nil: nothing does

	mu     sync.Mutex
	server *pipeServer // nil while there is none
}

// pipeServer is a room server that listens to pipes.
type pipeServer struct {
	rooms  *server.Server
	http   *http.Server
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	wg     sync.WaitGroup
}

func (s *pipeServer) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}
func (s *pipeServer) Close() error   { s.once.Do(func() { close(s.closed) }); return nil }
func (s *pipeServer) Addr() net.Addr { return &net.TCPAddr{} }

// inVenue makes a venue, lets f have people in it, ends the recording, and gives
// its manifest.
func inVenue(t *testing.T, f func(v *venue)) (m recorder.Manifest) {
	t.Helper()
	dir := t.TempDir()
	netsim.Run(t, netsim.Config{Delay: 20 * time.Millisecond}, func(n *netsim.Net) {
		v := &venue{Net: n, t: n.T(), dir: dir, host: n.Host(), done: make(chan error, 1)}
		v.open()
		n.Cleanup(v.shut)
		room, err := mesh.Dial(context.Background(), mesh.Config{
			URL: "ws://room.invalid/ws/room", PeerID: "rec", HTTPClient: v.client(), Peer: peer.Config{Net: v.host},
		})
		if err != nil {
			v.t.Fatal(err)
		}
		s := record(v.t, dir, nil)
		ctx, stop := context.WithCancel(context.Background())
		go func() { v.done <- s.Run(ctx, room) }()
		f(v)
		stop()
		if err := <-v.done; err != nil {
			v.t.Error(err)
		}
		if err := room.Close(); err != nil {
			v.t.Error(err)
		}
	})
	b, err := os.ReadFile(filepath.Join(dir, recorder.ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// buffer is a pipe that takes what is written before it is read, as a network
// does: else two sides that write at the same time wait for each other.
type buffer struct {
	net.Conn
	out  chan []byte
	over chan struct{}
	once sync.Once
}

func buffered(c net.Conn) *buffer {
	b := &buffer{Conn: c, out: make(chan []byte, 1000), over: make(chan struct{})}
	go func() {
		for {
			select {
			case p := <-b.out:
				if _, err := c.Write(p); err != nil {
					return
				}
			case <-b.over:
				_ = c.Close()
				return
			}
		}
	}()
	return b
}

func (b *buffer) Write(p []byte) (int, error) {
	select {
	case <-b.over:
		return 0, net.ErrClosed
	case b.out <- append([]byte(nil), p...):
		return len(p), nil
	}
}

func (b *buffer) Close() error {
	b.once.Do(func() { close(b.over) })
	return b.Conn.Close()
}

// open has a server listen, and shut ends it with all sockets.
func (v *venue) open() {
	s := &pipeServer{rooms: server.New(server.Config{Forward: v.unit}), conns: make(chan net.Conn), closed: make(chan struct{})}
	s.http = &http.Server{Handler: s.rooms}
	s.wg.Go(func() { _ = s.http.Serve(s) })
	v.mu.Lock()
	v.server = s
	v.mu.Unlock()
}

func (v *venue) shut() {
	v.mu.Lock()
	s := v.server
	v.server = nil
	v.mu.Unlock()
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.rooms.Shutdown(ctx)
	_ = s.http.Close()
	s.wg.Wait()
}

func (v *venue) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			v.mu.Lock()
			s := v.server
			v.mu.Unlock()
			if s == nil {
				return nil, errors.New("connection refused")
			}
			ours, theirs := net.Pipe()
			accepted := buffered(theirs)
			select {
			case s.conns <- accepted:
				return buffered(ours), nil
			case <-s.closed:
			case <-ctx.Done():
			}
			_ = accepted.Close()
			return nil, errors.New("connection refused")
		}}}
}

// person is somebody in the room who sends, by a client as they are in the field,
// or by one that knows ICE restarts.
type person struct {
	v        *venue
	id       string
	restarts bool // an offer of the recorder's goes to the connection there is

	mu   sync.Mutex
	ws   *websocket.Conn
	pubs []*netsim.Publisher // the latest is in use
	wg   sync.WaitGroup
}

// enter lets somebody into the room, who offers to the recorder.
func (v *venue) enter(id string, restarts bool) *person {
	v.t.Helper()
	p := &person{v: v, id: id, restarts: restarts}
	v.Cleanup(func() { p.hangUp(); p.wg.Wait() })
	p.join(true)
	p.pub().Start()
	return p
}

func (p *person) pub() *netsim.Publisher {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pubs[len(p.pubs)-1]
}

func (p *person) connection() *netsim.Publisher {
	pub := p.v.Publisher(netsim.PublisherConfig{KeyEvery: 50})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pubs = append(p.pubs, pub)
	return pub
}

// join joins, again perhaps, and offers a new connection to those who are there.
func (p *person) join(offers bool) {
	p.v.t.Helper()
	ctx := context.Background()
	ws, _, err := websocket.Dial(ctx, "ws://room.invalid/ws/room", &websocket.DialOptions{HTTPClient: p.v.client()})
	if err != nil {
		p.v.t.Fatal(err)
	}
	p.mu.Lock()
	p.ws = ws
	p.mu.Unlock()
	p.send(ws, message.Message{Type: message.Join, PeerID: p.id, RoomID: "room"})
	answered := make(chan struct{})
	var once sync.Once
	p.wg.Go(func() {
		defer func() { _ = ws.CloseNow() }() // the next one takes its place
		for {
			_, b, err := ws.Read(ctx)
			if err != nil {
				return
			}
			m, err := message.Parse(b)
			if err != nil {
				p.v.t.Error(err)
				return
			}
			if m.Type == message.RoomPeers && (!offers || !slices.Contains(m.Peers, "rec")) {
				once.Do(func() { close(answered) })
			}
			p.handle(ws, m, offers)
			if m.Type == message.Answer {
				once.Do(func() { close(answered) })
			}
		}
	})
	<-answered
}

func (p *person) handle(ws *websocket.Conn, m message.Message, offers bool) {
	switch m.Type {
	case message.RoomPeers:
		if offers && slices.Contains(m.Peers, "rec") {
			d := p.connection().Offer()
			p.send(ws, message.Message{Type: message.Offer, Target: "rec", Offer: &d})
		}
	case message.Answer:
		p.pub().Accept(*m.Answer)
	case message.Offer:
		current := p.pub().PC.CurrentRemoteDescription()
		started := !p.restarts || current == nil || origin(current.SDP) != origin(m.Offer.SDP)
		if started {
			p.connection()
		}
		d := p.pub().Answer(*m.Offer)
		p.send(ws, message.Message{Type: message.Answer, Target: m.From, Answer: &d})
		if started {
			pub := p.pub()
			p.wg.Go(func() { pub.Play() })
		}
	}
}

// origin tells the connections that descriptions are of apart (RFC 8866 §5.2).
func origin(sdp string) string {
	_, after, _ := strings.Cut(sdp, "o=")
	return strings.Join(strings.Fields(after)[:2], " ")
}

func (p *person) send(ws *websocket.Conn, m message.Message) {
	b, err := json.Marshal(m)
	if err == nil {
		_ = ws.Write(context.Background(), websocket.MessageText, b) // the server may be gone
	}
}

// drop ends the socket without a word.
func (p *person) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.ws.CloseNow()
}

// hangUp ends the socket and all connections.
func (p *person) hangUp() {
	p.drop()
	p.mu.Lock()
	pubs := p.pubs
	p.mu.Unlock()
	for _, pub := range pubs {
		pub.Close()
	}
}

// lostFor gives how long media is missing in a file, by the manifest, in its
// longest gap.
func lostFor(f recorder.FileEntry) (longest time.Duration) {
	for _, tr := range f.Tracks {
		for _, g := range tr.Gaps {
			longest = max(longest, time.Duration(g.DurationMS)*time.Millisecond)
		}
	}
	return longest
}

// span gives when a file begins and ends.
func span(f recorder.FileEntry) (from, to time.Duration) {
	from = time.Duration(f.OffsetMS) * time.Millisecond
	return from, from + time.Duration(f.DurationMS)*time.Millisecond
}

// written gives how many video frames are in a file.
func written(f recorder.FileEntry) (n int) {
	for _, tr := range f.Tracks {
		if tr.Kind == "video" {
			n += int(tr.Frames.Written)
		}
	}
	return n
}
