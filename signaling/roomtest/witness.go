package roomtest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
)

// patience is how long anything may take that should happen by itself.
const patience = 20 * time.Second

// keep is how many packets a witness holds before it gives them back, to see
// that they are its own.
const keep = 100

// asked are the sequence numbers that a witness asks for without having missed
// them, and which may therefore come twice.
var asked = []uint16{0, 65535}

// witness takes the events of a room and checks what holds for each of them.
type witness struct {
	t    *testing.T
	room signaling.Room

	last    time.Time
	present map[string]bool
	tracks  []*track // in the order they started
	held    []*media.Packet
}

// track is what a witness has seen of a signaling.Track.
type track struct {
	*signaling.Track
	ended   bool
	first   uint64 // number of the first packet
	next    uint64 // the number after the highest
	packets uint64
	reports int
	offset  uint16 // sequence number minus number
}

// missing is how many packets between the first and the latest did not come.
func (k *track) missing() uint64 { return k.next - k.first - k.packets }

func watch(t *testing.T, room signaling.Room) *witness {
	return &witness{t: t, room: room, present: make(map[string]bool)}
}

// enter brings somebody in.
func enter(t *testing.T, v Venue, id string, codecs ...media.Codec) Sender {
	t.Helper()
	s, err := v.Enter(id, codecs...)
	if err != nil {
		t.Fatalf("%q cannot enter: %v", id, err)
	}
	return s
}

// leave has somebody leave.
func leave(t *testing.T, s Sender) []uint64 {
	t.Helper()
	sent, err := s.Leave()
	if err != nil {
		t.Fatalf("cannot leave: %v", err)
	}
	return sent
}

// join joins the venue's room, and sees to it that it is closed.
func join(t *testing.T, v Venue) *witness {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	room, err := v.Join(ctx)
	if err != nil {
		t.Fatalf("cannot join: %v", err)
	}
	w := watch(t, room)
	t.Cleanup(func() {
		w.release()
		if err := room.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return w
}

// until takes events until done holds.
func (w *witness) until(what string, done func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for !done() {
		e, err := w.room.Next(ctx, time.Time{})
		if err != nil {
			w.t.Fatalf("waiting for %s: %v", what, err)
		}
		w.see(e)
	}
}

// drain takes events until Next returns an error, and returns that.
func (w *witness) drain(ctx context.Context) error {
	w.t.Helper()
	for {
		e, err := w.room.Next(ctx, time.Time{})
		if err != nil {
			return err
		}
		w.see(e)
	}
}

// see checks an event other than a tick.
func (w *witness) see(e signaling.Event) {
	w.t.Helper()
	if e.Time.IsZero() || e.Time.Before(w.last) {
		w.t.Fatalf("event %v has time %v after one of %v", e.Kind, e.Time, w.last)
	}
	w.last = e.Time
	switch e.Kind {
	case signaling.Joined:
		if w.present[e.Participant] {
			w.t.Fatalf("%q has joined twice", e.Participant)
		}
		w.present[e.Participant] = true
	case signaling.Left:
		if !w.present[e.Participant] {
			w.t.Fatalf("%q has left without having joined", e.Participant)
		}
		delete(w.present, e.Participant)
		for _, k := range w.tracks {
			if k.Participant == e.Participant && !k.ended {
				w.t.Fatalf("%q has left before a track of theirs has ended", e.Participant)
			}
		}
	case signaling.TrackStarted:
		w.started(e.Track)
	case signaling.TrackEnded:
		w.live(e).ended = true
	case signaling.PacketArrived:
		w.arrived(e)
	case signaling.Reported:
		k := w.live(e)
		k.reports++
		if e.Report == (signaling.SenderReport{}) {
			w.t.Fatal("an empty sender report")
		}
	default:
		w.t.Fatalf("event of kind %d", e.Kind)
	}
}

func (w *witness) started(tr *signaling.Track) {
	w.t.Helper()
	if tr == nil || slices.ContainsFunc(w.tracks, func(k *track) bool { return k.Track == tr }) {
		w.t.Fatalf("a track has started that is nil, or for a second time: %+v", tr)
	}
	if !w.present[tr.Participant] {
		w.t.Errorf("a track of %q has started, who has not joined", tr.Participant)
	}
	if tr.Connection < 1 || len(tr.Codecs) == 0 {
		w.t.Errorf("a track without a connection number or without codecs has started: %+v", tr)
	}
	for pt, c := range tr.Codecs {
		if c.Kind() != tr.Kind || pt > 127 {
			w.t.Errorf("a track of kind %v lists codec %v as payload type %d", tr.Kind, c, pt)
		}
	}
	if f := tr.Feedback; f != nil {
		f.RequestKeyframe()
		f.Nack(asked)
		if d := f.RoundTrip(); d < 0 || d > patience {
			w.t.Errorf("a round trip takes %v", d)
		}
	}
	w.tracks = append(w.tracks, &track{Track: tr})
}

// live gives the track of e, which must have started and not ended.
func (w *witness) live(e signaling.Event) *track {
	w.t.Helper()
	i := slices.IndexFunc(w.tracks, func(k *track) bool { return k.Track == e.Track })
	if i < 0 || w.tracks[i].ended {
		w.t.Fatalf("event of kind %d of a track that has not started or has ended: %+v", e.Kind, e.Track)
	}
	return w.tracks[i]
}

func (w *witness) arrived(e signaling.Event) {
	w.t.Helper()
	k, p := w.live(e), e.Packet
	if p == nil || !p.Arrival.Equal(e.Time) {
		w.t.Fatalf("a packet's event has time %v, and packet %+v", e.Time, p)
	}
	if len(p.Payload) == 0 || k.Codecs[p.PayloadType] == media.CodecUnknown {
		p.Release() // nothing but padding, to measure the bandwidth, or no media
		return
	}
	n, ok := number(p.Payload)
	if !ok {
		w.t.Fatalf("a packet of %q holds what nobody has sent: %x", k.Participant, p.Payload)
	}
	if k.packets == 0 {
		k.first, k.next, k.offset = n, n, p.SequenceNumber-uint16(n)
	}
	if p.SequenceNumber-uint16(n) != k.offset {
		w.t.Fatalf("packet %d of %q has sequence number %d, want %d", n, k.Participant, p.SequenceNumber, uint16(n)+k.offset)
	}
	if n < k.next && slices.Contains(asked, p.SequenceNumber) {
		p.Release()
		return
	}
	if n < k.next {
		w.t.Fatalf("packet %d of %q comes again, or late", n, k.Participant)
	}
	k.next = n + 1
	k.packets++

	// It is ours as long as we like, whatever comes meanwhile.
	w.held = append(w.held, p)
	if len(w.held) >= keep {
		w.release()
	}
}

func (w *witness) release() {
	for _, p := range w.held {
		if _, ok := number(p.Payload); !ok {
			w.t.Errorf("a packet has changed while it was ours: %x", p.Payload)
		}
		p.Release()
	}
	w.held = nil
}

// of gives the tracks of a participant that started on their latest connection.
func (w *witness) of(id string) []*track {
	var of []*track
	latest := 0
	for _, k := range w.tracks {
		if k.Participant == id {
			latest = max(latest, k.Connection)
		}
	}
	for _, k := range w.tracks {
		if k.Participant == id && k.Connection == latest {
			of = append(of, k)
		}
	}
	return of
}

// hears tells whether n more packets have come, since it was made, in each of
// so many tracks of a participant.
func (w *witness) hears(id string, tracks int, n uint64) func() bool {
	before := make(map[*track]uint64)
	for _, k := range w.of(id) {
		before[k] = k.packets
	}
	return func() bool {
		heard := 0
		for _, k := range w.of(id) {
			if k.packets >= before[k]+n {
				heard++
			}
		}
		return heard == tracks
	}
}
