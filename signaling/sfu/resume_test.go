package sfu

import (
	"context"
	"crypto/rand"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/mesh"
	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/server"
	"github.com/roomtape/roomtape/signaling/token"
)

// wire is what the WebSockets of one client go through.
type wire struct {
	url      string
	listener net.Listener
	wg       sync.WaitGroup

	mu    sync.Mutex
	pairs [][2]net.Conn // theirs and the server's
	held  [2]bool       // what is sent is lost: to the client, to the server
	lost  int           // bytes
}

// newWire leads to a venue.
func newWire(t *testing.T, v *venue) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := strings.TrimPrefix(v.server.URL, "http://")
	w := &wire{listener: l, url: strings.Replace(v.url, target, l.Addr().String(), 1)}
	w.wg.Go(func() {
		for {
			theirs, err := l.Accept()
			if err != nil {
				return
			}
			ours, err := net.Dial("tcp", target)
			w.mu.Lock()
			if err != nil {
				_ = theirs.Close()
				w.mu.Unlock()
				continue
			}
			w.pairs = append(w.pairs, [2]net.Conn{theirs, ours})
			w.mu.Unlock()
			w.wg.Go(func() { w.carry(theirs, ours, 0) })
			w.wg.Go(func() { w.carry(ours, theirs, 1) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		w.cut(false)
		w.wg.Wait()
	})
	return w
}

func (w *wire) carry(to, from net.Conn, way int) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		w.mu.Lock()
		held := w.held[way]
		if held {
			w.lost += n
		}
		w.mu.Unlock()
		if !held {
			_, _ = to.Write(b[:n]) // who is gone is found by reading
		}
	}
}

// loses tells how much of what was sent has been.
func (w *wire) loses() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost
}

// cut resets the connections; silently: the server does not notice.
func (w *wire) cut(silently bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.pairs {
		_ = p[0].Close()
		if !silently {
			_ = p[1].(*net.TCPConn).SetLinger(0)
			_ = p[1].Close()
		}
	}
	w.held = [2]bool{}
	if !silently {
		w.pairs = nil
	}
}

// ear takes what a recorder gets, by participant and kind.
type ear struct {
	t      *testing.T
	room   *Room
	tracks map[string][]*signaling.Track
	next   map[*signaling.Track]uint16
	count  map[string]int
	lost   int // packets
	kinds  []signaling.EventKind
}

func listen(t *testing.T, v *venue, url string) *ear {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	room, err := v.dial(ctx, mesh.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := room.Close(); err != nil {
			t.Error(err)
		}
	})
	return &ear{t: t, room: room, tracks: map[string][]*signaling.Track{}, next: map[*signaling.Track]uint16{}, count: map[string]int{}}
}

// until takes events until something is so.
func (e *ear) until(what string, so func() bool) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.t.Context(), patience)
	defer cancel()
	for !so() {
		ev, err := e.room.Next(ctx, time.Now().Add(20*time.Millisecond))
		if err != nil {
			e.t.Fatalf("waiting until %s: %v", what, err)
		}
		switch ev.Kind {
		case signaling.TrackStarted:
			e.tracks[ev.Track.Participant] = append(e.tracks[ev.Track.Participant], ev.Track)
		case signaling.PacketArrived:
			next, ok := e.next[ev.Track]
			if gap := ev.Packet.SequenceNumber - next; ok && gap < 1<<15 {
				e.lost += int(gap)
			}
			e.next[ev.Track] = ev.Packet.SequenceNumber + 1
			e.count[ev.Track.Participant]++
			ev.Packet.Release()
		case signaling.Joined, signaling.Left, signaling.TrackEnded:
			e.kinds = append(e.kinds, ev.Kind)
		}
	}
}

// more waits for another n packets of a participant's.
func (e *ear) more(n int, of string) {
	e.t.Helper()
	n += e.count[of]
	e.until("packets come of "+of, func() bool { return e.count[of] >= n })
}

// about gives what a client has heard so far of a participant.
func (c *client) about(id string) (types []message.Type) {
	for len(c.heard) > 0 {
		if m := <-c.heard; m.ParticipantID == id {
			types = append(types, m.Type)
		}
	}
	return types
}

// TestALostSocketEndsNothing has a recorder's socket die, seen by the server or
// not, when messages are on their way. Its tracks go on, those of who came
// meanwhile come, and nobody else notices.
func TestALostSocketEndsNothing(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]struct {
		held     [2]bool
		silently bool
	}{
		"reset, and what the server says is lost":    {[2]bool{true, false}, false},
		"reset, and what the recorder says is lost":  {[2]bool{false, true}, false},
		"silently, and what the server says is lost": {[2]bool{true, false}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVenue(t)
			closing(t, v)
			w := newWire(t, v)
			witness, err := v.enter("alice", media.VP8, media.Opus)
			if err != nil {
				t.Fatal(err)
			}
			e := listen(t, v, w.url)
			e.until("both tracks of alice's are there", func() bool { return len(e.tracks["alice"]) == 2 })
			e.more(50, "alice")
			before := slices.Clone(e.tracks["alice"])

			w.mu.Lock()
			w.held = lost.held
			w.mu.Unlock()
			if _, err := v.enter("bob", media.Opus); err != nil {
				t.Fatal(err)
			}
			e.until("something is lost", func() bool { return w.loses() > 0 })
			w.cut(lost.silently)
			e.more(20, "bob")
			e.more(20, "alice")
			if !slices.Equal(e.tracks["alice"], before) || e.lost != 0 {
				t.Errorf("alice has %d tracks in place of 2, and %d packets are lost", len(e.tracks["alice"]), e.lost)
			}
			if want := []signaling.EventKind{signaling.Joined, signaling.Joined}; !slices.Equal(e.kinds, want) {
				t.Errorf("the recorder is told %v", e.kinds)
			}
			if heard := witness.about("rec"); !slices.Equal(heard, []message.Type{message.ParticipantJoined}) {
				t.Errorf("alice hears %v of the recorder", heard)
			}
			if n := v.rooms.Counts(); n.Resumed != 1 || n.Joins != 3 || n.Kept != 0 || n.Peers != 3 {
				t.Errorf("the server counts %+v", n)
			}
		})
	}
}

// TestASocketLostForLong has it away for longer than it is waited for, or not be
// waited for at all: the recorder leaves, and comes again.
func TestASocketLostForLong(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]server.Config{"late": {ResumeWithin: 100 * time.Millisecond}, "none": {ResumeWithin: -1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVenueOf(t, cfg)
			closing(t, v)
			w := newWire(t, v)
			witness, err := v.enter("alice", media.Opus)
			if err != nil {
				t.Fatal(err)
			}
			e := listen(t, v, w.url)
			e.more(20, "alice")
			w.cut(false)
			e.until("alice comes by another track", func() bool { return len(e.tracks["alice"]) == 2 })
			e.more(20, "alice")
			want := []message.Type{message.ParticipantJoined, message.ParticipantLeft, message.ParticipantJoined}
			if heard := witness.about("rec"); !slices.Equal(heard, want) {
				t.Errorf("alice hears %v of the recorder", heard)
			}
			if n := v.rooms.Counts(); n.Resumed != 0 || n.Joins != 3 {
				t.Errorf("the server counts %+v", n)
			}
		})
	}
}

// resumable makes a client that can resume, and gives what by.
func resumable(t *testing.T, v *venue, url, id string, codecs ...media.Codec) (c *client, token string) {
	t.Helper()
	c, err := prepareJoin(clientAPI, url, message.Message{Type: message.Join, PeerID: id, RoomID: "room", Resume: new(string)})
	if err != nil {
		t.Fatal(err)
	}
	v.clients[id] = c
	m := c.hear(t, message.RoomPeers, message.Error)
	if m.Resume == nil || len(*m.Resume) < 26 || m.Received != nil {
		t.Fatalf("%s joins, and hears %+v", id, m)
	}
	if err := c.sends(codecs...); err != nil {
		t.Fatal(err)
	}
	eventually(t, id+" is connected, for both sides", func() bool { return c.dc.ReadyState() == webrtc.DataChannelStateOpen })
	return c, *m.Resume
}

// knock joins by another socket, and gives it with the answer.
func knock(t *testing.T, url string, join message.Message) (*websocket.Conn, message.Message) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	join.Type = message.Join
	say(ctx, t, ws, join)
	return ws, hear(ctx, t, ws)
}

// of waits until a client hears something of a participant, and no error.
func (c *client) of(t *testing.T, id string, typ message.Type) {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case m := <-c.heard:
			if m.ParticipantID != id {
				continue
			}
			if m.Type != typ {
				t.Fatalf("%s hears %+v in place of %s", c.id, m, typ)
			}
			return
		case <-late:
			t.Fatalf("%s does not hear %s of %s", c.id, typ, id)
		}
	}
}

// TestWhoMayResume tries what a stranger could, who knows everything but the token.
func TestWhoMayResume(t *testing.T) {
	t.Parallel()
	v := newVenueOf(t, server.Config{MaxKept: 1})
	closing(t, v)
	witness, err := v.enter("witness")
	if err != nil {
		t.Fatal(err)
	}
	alice, right := resumable(t, v, v.url, "alice", media.Opus)
	witness.of(t, "alice", message.ParticipantJoined)
	witness.of(t, "alice", message.TrackAvailable)
	kept := func(n int) {
		t.Helper()
		eventually(t, "so many are kept", func() bool { return v.rooms.Counts().Kept == n })
	}
	_ = alice.ws.CloseNow() // without a word
	kept(1)
	none := uint64(0)

	// Elsewhere the token is of no use, and neither is it for somebody else.
	other := strings.TrimSuffix(v.url, "room") + "other"
	for url, join := range map[string]message.Message{
		other: {PeerID: "alice", RoomID: "other", Resume: &right, Received: &none},
		v.url: {PeerID: "mallory", RoomID: "room", Resume: &right, Received: &none},
	} {
		ws, m := knock(t, url, join)
		if m.Type != message.RoomPeers || m.Received != nil || m.Resume == nil || *m.Resume == right {
			t.Errorf("%+v is answered by %+v", join, m)
		}
		_ = ws.Close(websocket.StatusNormalClosure, "")
	}
	witness.of(t, "mallory", message.ParticipantJoined)
	witness.of(t, "mallory", message.ParticipantLeft)
	kept(1)

	// More than the server has said can't have come, and then it is a new beginning, as
	// it is without the right token: whoever has reloaded a page has none.
	ws, m := knock(t, v.url, message.Message{PeerID: "alice", RoomID: "room", Resume: &right, Received: &none})
	if m.Type != message.RoomPeers || m.Received == nil || *m.Resume != right {
		t.Fatalf("who resumes hears %+v", m)
	}
	kept(0)
	_ = ws.CloseNow()
	kept(1)
	wrong, many := right[1:]+"A", ^uint64(0)
	for i, join := range []message.Message{
		{Resume: &wrong, Received: &none}, {Resume: new(string), Received: &none}, {Resume: &right}, {}, {Resume: &right, Received: &many},
	} {
		join.PeerID, join.RoomID = "alice", "room"
		_, m := knock(t, v.url, join)
		if m.Type != message.RoomPeers || m.Received != nil || m.Resume != nil && *m.Resume == right {
			t.Errorf("%+v is answered by %+v", join, m)
		}
		if i == 0 {
			witness.of(t, "alice", message.TrackRemoved)
		}
		witness.of(t, "alice", message.ParticipantLeft)
		witness.of(t, "alice", message.ParticipantJoined)
		kept(0)
	}
}

// TestResumingNeedsTheRights has somebody come back with tokens that allow less, and
// be kept no longer than a token is good.
func TestResumingNeedsTheRights(t *testing.T) {
	t.Parallel()
	secret := []byte(rand.Text())
	v := newVenueOf(t, server.Config{TokenSecret: secret})
	closing(t, v)
	by := func(c token.Claims) string {
		if c.Room == "" {
			c.Room = "room"
		}
		if c.Expires.IsZero() {
			c.Expires = time.Now().Add(time.Hour)
		}
		signed, err := token.Sign(secret, c)
		if err != nil {
			t.Fatal(err)
		}
		return v.url + "?token=" + signed
	}
	both := []token.Right{token.Publish, token.Subscribe}
	witness, err := enterRoom(by(token.Claims{Rights: both}), "witness", "")
	if err != nil {
		t.Fatal(err)
	}
	v.clients["witness"] = witness
	kept := func() {
		t.Helper()
		eventually(t, "somebody is kept", func() bool { return v.rooms.Counts().Kept == 1 })
	}
	alice, resume := resumable(t, v, by(token.Claims{Rights: both, PeerID: "alice"}), "alice", media.Opus)
	witness.of(t, "alice", message.ParticipantJoined)
	witness.of(t, "alice", message.TrackAvailable)
	_ = alice.ws.CloseNow()
	kept()
	join := message.Message{PeerID: "alice", RoomID: "room", Resume: &resume, Received: new(uint64)}
	for what, c := range map[string]token.Claims{
		"for another room":             {Rights: both, Room: "other"},
		"for somebody else":            {Rights: both, PeerID: "bob"},
		"for anybody":                  {Rights: both},
		"for anybody, with less to do": {Rights: both[:1]},
	} {
		if _, m := knock(t, by(c), join); m.Code != message.CodeForbidden {
			t.Errorf("a token %s is answered by %+v", what, m)
		}
	}
	if _, m := knock(t, v.url, join); m.Code != message.CodeUnauthorized {
		t.Errorf("no token is answered by %+v", m)
	}
	kept()
	soon := time.Now().Add(2 * time.Second).Truncate(time.Second)
	ws, m := knock(t, by(token.Claims{Rights: both, PeerID: "alice", Expires: soon}), join)
	if m.Received == nil {
		t.Fatalf("the same rights are answered by %+v", m)
	}
	_ = ws.CloseNow()
	kept()
	witness.of(t, "alice", message.TrackRemoved)
	witness.of(t, "alice", message.ParticipantLeft)
	if now := time.Now(); now.Before(soon) || now.After(soon.Add(2*time.Second)) {
		t.Errorf("who is kept leaves %v after the token has expired", now.Sub(soon))
	}

	bob, resume := resumable(t, v, by(token.Claims{Rights: both}), "bob", media.Opus)
	witness.of(t, "bob", message.ParticipantJoined)
	witness.of(t, "bob", message.TrackAvailable)
	_ = bob.ws.CloseNow()
	kept()
	join.PeerID, join.Resume = "bob", &resume
	if _, m := knock(t, by(token.Claims{Rights: both[1:]}), join); m.Received != nil || !slices.Equal(m.Rights, []string{"subscribe"}) {
		t.Errorf("fewer rights are answered by %+v", m)
	}
	witness.of(t, "bob", message.TrackRemoved)
	witness.of(t, "bob", message.ParticipantLeft)
	witness.of(t, "bob", message.ParticipantJoined)
}

// TestWhoIsNotKept has clients leave at once who say so, whose connection ends, who
// have none, and who are too many.
func TestWhoIsNotKept(t *testing.T) {
	t.Parallel()
	v := newVenueOf(t, server.Config{MaxKept: 1})
	closing(t, v)
	witness, err := v.enter("witness")
	if err != nil {
		t.Fatal(err)
	}
	enter := func(id string) *client {
		t.Helper()
		c, _ := resumable(t, v, v.url, id)
		witness.of(t, id, message.ParticipantJoined)
		return c
	}
	polite := enter("polite")
	_ = polite.ws.Close(websocket.StatusGoingAway, "")
	witness.of(t, "polite", message.ParticipantLeft)

	ws, _ := knock(t, v.url, message.Message{PeerID: "new", RoomID: "room", Resume: new(string)})
	witness.of(t, "new", message.ParticipantJoined)
	_ = ws.CloseNow()
	witness.of(t, "new", message.ParticipantLeft)

	kept, second := enter("kept"), enter("second")
	_ = kept.ws.CloseNow()
	eventually(t, "somebody is kept", func() bool { return v.rooms.Counts().Kept == 1 })
	_ = second.ws.CloseNow()
	witness.of(t, "second", message.ParticipantLeft)
	_ = kept.pc.Close()
	witness.of(t, "kept", message.ParticipantLeft)
	if n := v.rooms.Counts(); n.Kept != 0 || n.Peers != 1 {
		t.Errorf("the server counts %+v", n)
	}
	last := enter("last") // the server is closed with somebody kept
	_ = last.ws.CloseNow()
	eventually(t, "somebody is kept", func() bool { return v.rooms.Counts().Kept == 1 })
}

// TestWhoIsReplacedTakesAnotherName has somebody join under the recorder's id: to come
// back under it would replace them, and so on for ever.
func TestWhoIsReplacedTakesAnotherName(t *testing.T) {
	t.Parallel()
	v := newVenue(t)
	closing(t, v)
	witness, err := v.enter("alice", media.Opus)
	if err != nil {
		t.Fatal(err)
	}
	e := listen(t, v, "")
	e.more(10, "alice")
	if _, err := v.enter("rec"); err != nil {
		t.Fatal(err)
	}
	e.until("alice comes by another track", func() bool { return len(e.tracks["alice"]) == 2 })
	var joined []string
	for len(witness.heard) > 0 {
		if m := <-witness.heard; m.Type == message.ParticipantJoined {
			joined = append(joined, m.ParticipantID)
		}
	}
	if len(joined) != 3 || joined[1] != "rec" || !strings.HasPrefix(joined[2], "rec-") {
		t.Errorf("%q have joined", joined)
	}
}

// TestAServerThatSpeaksFirst says something before it answers a join.
func TestAServerThatSpeaksFirst(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = ws.CloseNow() }()
		say(r.Context(), t, ws, message.Message{Type: message.ParticipantJoined, ParticipantID: "alice"})
		say(r.Context(), t, ws, message.Message{Type: message.RoomPeers, Peers: []string{message.SFU}})
		for err == nil {
			_, _, err = ws.Read(r.Context())
		}
	}))
	defer s.Close()
	e := listen(t, &venue{}, "ws"+strings.TrimPrefix(s.URL, "http")+"/room")
	defer e.room.Close()
	e.until("alice is there", func() bool { return slices.Contains(e.kinds, signaling.Joined) })
}
