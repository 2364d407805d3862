package peer_test

import (
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp/codecs"

	"github.com/roomtape/roomtape/internal/netsim"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/peer"
)

// witness keeps what a connection tells, and puts VP8 frames together.
type witness struct {
	mu       sync.Mutex
	packets  map[*signaling.Track]map[uint16]*media.Packet
	next     map[*signaling.Track]uint16
	started  []*signaling.Track
	ended    int
	states   []peer.State
	messages []string
}

func (w *witness) options() peer.Options {
	w.packets = map[*signaling.Track]map[uint16]*media.Packet{}
	w.next = map[*signaling.Track]uint16{}
	return peer.Options{
		Participant: "p", Connection: 1, Sink: w.sink,
		OnState: func(s peer.State) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.states = append(w.states, s)
		},
		OnMessage: func(m peer.Message, _ <-chan struct{}) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.messages = append(w.messages, m.Label+": "+string(m.Data))
		},
	}
}

func (w *witness) sink(e signaling.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e.Kind {
	case signaling.TrackStarted:
		w.started = append(w.started, e.Track)
		w.packets[e.Track] = map[uint16]*media.Packet{}
	case signaling.TrackEnded:
		w.ended++
	case signaling.PacketArrived:
		w.packets[e.Track][e.Packet.SequenceNumber] = e.Packet
		next, known := w.next[e.Track]
		if known && int16(e.Packet.SequenceNumber-next) < 0 {
			return
		}
		w.next[e.Track] = e.Packet.SequenceNumber + 1
		if known && e.Packet.SequenceNumber != next {
			go w.ask(e.Track, next, e.Packet.SequenceNumber)
		}
	}
}

// ask asks for what is missing until it comes.
func (w *witness) ask(t *signaling.Track, from, to uint16) {
	for range 10 {
		var missing []uint16
		w.mu.Lock()
		for s := from; s != to; s++ {
			if w.packets[t][s] == nil {
				missing = append(missing, s)
			}
		}
		w.mu.Unlock()
		if missing == nil {
			return
		}
		t.Feedback.Nack(missing)
		time.Sleep(200 * time.Millisecond)
	}
}

func (w *witness) track(kind media.Kind) *signaling.Track {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.started) - 1; i >= 0; i-- {
		if w.started[i].Kind == kind {
			return w.started[i]
		}
	}
	return nil
}

// count gives how many packets of a track have come.
func (w *witness) count(t *signaling.Track) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.packets[t])
}

// frames gives how many frames of a VP8 track arrived whole, and whether all
// are as they were sent.
func (w *witness) frames(t *signaling.Track) (whole int, right bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	frames := map[uint32][]byte{}
	first, n := w.next[t], 0
	for w.packets[t][first-1] != nil {
		first--
	}
	for s := first; s != w.next[t]; s++ {
		p := w.packets[t][s]
		n++
		if len(p.Payload) == 0 {
			continue
		}
		var d codecs.VP8Packet
		b, err := d.Unmarshal(p.Payload)
		if err != nil {
			return 0, false
		}
		frames[p.Timestamp] = append(frames[p.Timestamp], b...)
	}
	right = n == len(w.packets[t])
	for _, f := range frames {
		if _, ok := netsim.Number(media.VP8, f); ok {
			whole++
		} else {
			right = false
		}
	}
	return whole, right
}

func newFactory(n *netsim.Net, cfg peer.Config) *peer.Factory {
	n.T().Helper()
	cfg.Net = n.Host()
	f, err := peer.NewFactory(cfg)
	if err != nil {
		n.T().Fatal(err)
	}
	n.Cleanup(func() {
		if err := f.Close(); err != nil {
			n.T().Error(err)
		}
	})
	return f
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
