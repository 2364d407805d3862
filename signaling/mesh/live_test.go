package mesh

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/message"
)

// inRoom makes a room on a real server that we are in as "rec".
func inRoom(t *testing.T, cfg Config) (*venue, *Room) {
	t.Helper()
	v := newVenue(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := v.dial(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := v.Close(); err != nil {
			t.Errorf("closing the venue: %v", err)
		}
	})
	return v, r
}

func (v *venue) mustEnter(id string, codecs ...media.Codec) *client {
	v.t.Helper()
	c, err := v.enter(id, codecs...)
	if err != nil {
		v.t.Fatal(err)
	}
	return c
}

// cut ends the room's socket as a dead network would.
func (r *Room) cut() {
	r.inbox.put(func(time.Time) { _ = r.socket.below.Close() })
}

// packets waits for n packets of a track, and fails if it ends.
func packets(t *testing.T, r *Room, track *signaling.Track, n int) {
	t.Helper()
	for n > 0 {
		e := wait(t, r, signaling.PacketArrived, signaling.TrackEnded)
		if e.Track != track {
			continue
		}
		if e.Kind == signaling.TrackEnded {
			t.Fatalf("the track has ended; %d more packets were to come", n)
		}
		n--
	}
}

func TestParticipantsAreToldOfTheRecording(t *testing.T) {
	t.Parallel()
	v := newVenue(t)
	before := v.mustEnter("before", media.Opus)
	r, err := v.dial(t.Context(), Config{Announce: true, Messages: true})
	if err != nil {
		t.Fatal(err)
	}
	people := []*client{before, v.mustEnter("after", media.Opus)}
	hear := func(state string) {
		t.Helper()
		for _, c := range people {
			select {
			case s := <-c.said:
				var m struct {
					Type, State string
					PeerID      string `json:"peer_id"`
				}
				if err := json.Unmarshal([]byte(s), &m); err != nil || m.Type != "recording" || m.State != state || m.PeerID != "rec" {
					t.Errorf("%s is told %s, %v; want %s", c.id, s, err, state)
				}
			case <-time.After(patience):
				t.Errorf("%s is not told that the recording has %s", c.id, state)
			}
		}
	}
	hear("started")
	r.Announce("paused")
	hear("paused")
	all := people
	people = []*client{v.mustEnter("late", media.Opus)}
	hear("paused")

	// What they say reaches us, and what we answer those who asked.
	people[0].mu.Lock()
	pc := people[0].pcs["rec"]
	people[0].mu.Unlock()
	dc, err := pc.CreateDataChannel("game", nil)
	if err != nil {
		t.Fatal(err)
	}
	dc.OnMessage(func(m webrtc.DataChannelMessage) { people[0].said <- string(m.Data) })
	dc.OnOpen(func() { _ = dc.Send([]byte{7}) })
	e := wait(t, r, signaling.MessageArrived)
	if m := e.Message; e.Participant != "late" || m.Label != "game" || m.Text || !bytes.Equal(m.Data, []byte{7}) || m.To != "rec" {
		t.Errorf("%s says %+v", e.Participant, m)
	}
	e.Message.Reply([]byte("heard"))
	select {
	case s := <-people[0].said:
		if s != "heard" {
			t.Errorf("the answer is %q", s)
		}
	case <-time.After(patience):
		t.Error("there is no answer")
	}
	people = append(people, all...)
	r.Announce("started")
	hear("started")
	if err := r.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	hear("stopped")
	if err := v.Close(); err != nil {
		t.Error(err)
	}
}

func TestMediaOutlivesOurSocket(t *testing.T) {
	t.Parallel()
	v, r := inRoom(t, Config{})
	v.mustEnter("alice", media.Opus)
	track := wait(t, r, signaling.TrackStarted).Track
	packets(t, r, track, 10)
	r.cut()
	for { // until we are back
		packets(t, r, track, 10)
		back := make(chan bool, 1)
		r.inbox.put(func(time.Time) { back <- r.roster.up && r.roster.stays == 1 && r.roster.self == "rec" })
		if <-back {
			break
		}
	}
	packets(t, r, track, 10)

	// Who comes later is heard too.
	v.mustEnter("bob", media.Opus)
	for {
		if e := wait(t, r, signaling.TrackStarted, signaling.TrackEnded); e.Kind == signaling.TrackStarted && e.Track.Participant == "bob" {
			break
		} else if e.Kind == signaling.TrackEnded {
			t.Fatal("a track has ended")
		}
	}
}

func TestClientWhoHangsUpOnOurOldIDIsOfferedAnew(t *testing.T) {
	t.Parallel()
	v, r := inRoom(t, Config{})
	alice := v.mustEnter("alice", media.Opus)
	track := wait(t, r, signaling.TrackStarted).Track
	packets(t, r, track, 10)
	alice.mu.Lock()
	alice.hangsUp = true
	alice.mu.Unlock()
	r.cut()
	again := wait(t, r, signaling.TrackStarted).Track
	if again.Participant != "alice" || again.Connection <= track.Connection {
		t.Errorf("track %+v after %+v", again, track)
	}
	packets(t, r, again, 10)
}

func TestMediaOutlivesTheirSocket(t *testing.T) {
	t.Parallel()
	v, r := inRoom(t, Config{})
	alice := v.mustEnter("alice", media.Opus)
	track := wait(t, r, signaling.TrackStarted).Track
	alice.mu.Lock()
	_ = alice.ws.CloseNow()
	alice.mu.Unlock()
	packets(t, r, track, int(LingerTime/(10*time.Millisecond))+100)

	// They come back with another connection, while the old one still sends.
	if err := alice.join(v.url); err != nil {
		t.Fatal(err)
	}
	var again *signaling.Track
	for ended, n := false, 0; !ended || n < 10; {
		e := wait(t, r, signaling.TrackStarted, signaling.TrackEnded, signaling.PacketArrived, signaling.Left)
		switch {
		case e.Kind == signaling.Left:
			t.Fatal("who is back has left")
		case e.Kind == signaling.TrackStarted:
			again = e.Track
		case e.Kind == signaling.TrackEnded:
			ended = ended || e.Track == track
		case e.Track == again:
			n++
		}
	}
	if again.Connection <= track.Connection {
		t.Errorf("track %+v after %+v", again, track)
	}
}

func TestLeaverWithoutAWordHasLeftSoon(t *testing.T) {
	t.Parallel()
	v, r := inRoom(t, Config{})
	alice := v.mustEnter("alice", media.Opus)
	track := wait(t, r, signaling.TrackStarted).Track
	packets(t, r, track, 10)
	alice.vanish()
	start := time.Now()
	wait(t, r, signaling.TrackEnded)
	wait(t, r, signaling.Left)
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("it took %v to see that they had left", d)
	}
}

func TestICERestartKeepsTheTrack(t *testing.T) {
	t.Parallel()
	v, r := inRoom(t, Config{})
	alice := v.mustEnter("alice", media.Opus)
	track := wait(t, r, signaling.TrackStarted).Track
	packets(t, r, track, 10)
	alice.mu.Lock()
	pc, ws := alice.pcs["rec"], alice.ws
	alice.mu.Unlock()
	before := pc.CurrentRemoteDescription().SDP
	if err := alice.propose(ws, "rec", pc, &webrtc.OfferOptions{ICERestart: true}); err != nil {
		t.Fatal(err)
	}
	for answered := false; !answered; {
		packets(t, r, track, 10)
		answered = pc.CurrentRemoteDescription().SDP != before
	}
	packets(t, r, track, 100)
}

func TestGarbageOfferDisturbsNobody(t *testing.T) {
	t.Parallel()
	var log logBuffer
	v, r := inRoom(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	alice := v.mustEnter("alice", media.Opus)
	track := wait(t, r, signaling.TrackStarted).Track
	packets(t, r, track, 10)
	mallory := v.mustEnter("../../mallory")
	for _, c := range []*client{alice, mallory} {
		for _, m := range []message.Message{
			{Type: message.Offer, Offer: &message.Description{Type: "offer", SDP: "garbage\x1b[31m"}},
			{Type: message.Offer, Offer: &message.Description{Type: "answer", SDP: "v=0\r\n"}},
			{Type: message.Answer, Answer: &message.Description{Type: "answer", SDP: strings.Repeat("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n", 5000)}},
			{Type: message.ICECandidate, Candidate: &message.Candidate{Candidate: "candidate:garbage"}},
		} {
			m.Target = "rec"
			if err := writeMessage(t.Context(), c.ws, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	packets(t, r, track, 100)
	v.mustEnter("bob", media.Opus)
	bob := wait(t, r, signaling.TrackStarted, signaling.TrackEnded)
	if bob.Kind != signaling.TrackStarted || bob.Track.Participant != "bob" {
		t.Fatalf("event %+v", bob)
	}
	packets(t, r, track, 10)
	if s := log.String(); !strings.Contains(s, "offer refused") || strings.Contains(s, "\x1b") {
		t.Errorf("the log does not say that an offer was refused, or not printably:\n%s", s)
	}
}

// logBuffer is a buffer for a logger.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
