package peer

import (
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/message"
)

// patience is how long a test with real sockets waits for what must happen.
const patience = 10 * time.Second

// log keeps the events of a connection.
type eventLog struct {
	mu     sync.Mutex
	events []signaling.Event
	more   chan struct{}
}

func newEventLog() *eventLog { return &eventLog{more: make(chan struct{}, 1)} }

func (l *eventLog) sink(e signaling.Event) {
	l.mu.Lock()
	l.events = append(l.events, e)
	l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// until waits until ok holds for the events so far, and gives them.
func (l *eventLog) until(t *testing.T, what string, ok func([]signaling.Event) bool) []signaling.Event {
	t.Helper()
	timeout := time.After(patience)
	for {
		l.mu.Lock()
		events := l.events[:len(l.events):len(l.events)]
		l.mu.Unlock()
		if ok(events) {
			return events
		}
		select {
		case <-l.more:
		case <-timeout:
			t.Fatalf("waited in vain for %s; %d events", what, len(events))
		}
	}
}

func count(events []signaling.Event, k signaling.EventKind) (n int) {
	for _, e := range events {
		if e.Kind == k {
			n++
		}
	}
	return n
}

// sender is a pion peer that sends.
type sender struct {
	pc     *webrtc.PeerConnection
	tracks []*webrtc.TrackLocalStaticRTP
	up     chan struct{}
}

func newSender(t *testing.T, mimes ...string) *sender {
	t.Helper()
	var se webrtc.SettingEngine
	se.SetIncludeLoopbackCandidate(true)
	se.SetInterfaceFilter(func(name string) bool { return name == "lo" })
	me := &webrtc.MediaEngine{}
	if err := me.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	s := &sender{up: make(chan struct{})}
	var err error
	// No interceptors: what goes out is what the test writes.
	s.pc, err = webrtc.NewAPI(webrtc.WithMediaEngine(me), webrtc.WithSettingEngine(se)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.pc.GracefulClose() })
	var once sync.Once
	s.pc.OnConnectionStateChange(func(st webrtc.PeerConnectionState) {
		if st == webrtc.PeerConnectionStateConnected {
			once.Do(func() { close(s.up) })
		}
	})
	for _, m := range mimes {
		tr, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: m}, "id-"+m[:5], "stream")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.pc.AddTrack(tr); err != nil {
			t.Fatal(err)
		}
		s.tracks = append(s.tracks, tr)
	}
	return s
}

// answer connects to an offer of c's.
func (s *sender) answer(t *testing.T, c *Conn) {
	t.Helper()
	offer, err := c.Offer()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer.SDP}); err != nil {
		t.Fatal(err)
	}
	a, err := s.pc.CreateAnswer(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.local(t, a)
	if err := c.Accept(message.Description{Type: "answer", SDP: s.pc.LocalDescription().SDP}); err != nil {
		t.Fatal(err)
	}
	s.connected(t)
}

// offer makes an offer to c.
func (s *sender) offer(t *testing.T, c *Conn, o *webrtc.OfferOptions) {
	t.Helper()
	offer, err := s.pc.CreateOffer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.local(t, offer)
	a, err := c.Answer(message.Description{Type: "offer", SDP: s.pc.LocalDescription().SDP})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: a.SDP}); err != nil {
		t.Fatal(err)
	}
	s.connected(t)
}

func (s *sender) local(t *testing.T, d webrtc.SessionDescription) {
	t.Helper()
	gathered := webrtc.GatheringCompletePromise(s.pc)
	if err := s.pc.SetLocalDescription(d); err != nil {
		t.Fatal(err)
	}
	<-gathered
}

func (s *sender) connected(t *testing.T) {
	t.Helper()
	select {
	case <-s.up:
	case <-time.After(patience):
		t.Fatalf("not connected: %v", s.pc.ConnectionState())
	}
}

// send writes n packets, from sequence number first, to track i.
func (s *sender) send(t *testing.T, i, first, n int) {
	t.Helper()
	for k := range n {
		payload := make([]byte, 100+k%1000)
		binary.BigEndian.PutUint32(payload, uint32(first+k))
		err := s.tracks[i].WriteRTP(&rtp.Packet{
			Header: rtp.Header{
				Version: 2, SequenceNumber: uint16(first + k), Timestamp: uint32(first+k) * 3000, Marker: true,
			},
			Payload: payload,
		})
		if err != nil {
			t.Fatal(err)
		}
		if k%32 == 31 {
			time.Sleep(time.Millisecond) // loopback loses bursts
		}
	}
}

func newTestFactory(t *testing.T, cfg Config) *Factory {
	t.Helper()
	cfg.Loopback = true
	f, err := NewFactory(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func connect(t *testing.T, f *Factory, o Options) *Conn {
	t.Helper()
	c, err := f.Connect(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPacketsArriveByteForByte(t *testing.T) {
	for _, direction := range []string{"we offer", "they offer"} {
		t.Run(direction, func(t *testing.T) {
			log := newEventLog()
			c := connect(t, newTestFactory(t, Config{}), Options{Participant: "p", Connection: 7, Sink: log.sink})
			s := newSender(t, webrtc.MimeTypeVP8, webrtc.MimeTypeOpus)
			if direction == "we offer" {
				s.answer(t, c)
			} else {
				s.offer(t, c, nil)
			}
			const n = 300
			s.send(t, 0, 65400, n)
			s.send(t, 1, 10, n)
			events := log.until(t, "all packets", func(e []signaling.Event) bool { return count(e, signaling.PacketArrived) == 2*n })

			started := map[*signaling.Track]int{}
			for _, e := range events {
				switch e.Kind {
				case signaling.TrackStarted:
					started[e.Track] = map[media.Kind]int{media.Video: 65400, media.Audio: 10}[e.Track.Kind]
				case signaling.PacketArrived:
					next, ok := started[e.Track]
					if !ok {
						t.Fatal("a packet came before its track")
					}
					if got := int(binary.BigEndian.Uint32(e.Packet.Payload)); got != next || int(e.Packet.SequenceNumber) != next&0xffff {
						t.Fatalf("got packet %d, want %d", got, next)
					}
					if want := 100 + (next-map[media.Kind]int{media.Video: 65400, media.Audio: 10}[e.Track.Kind])%1000; len(e.Packet.Payload) != want {
						t.Fatalf("payload has %d bytes, want %d", len(e.Packet.Payload), want)
					}
					if e.Packet.Arrival != e.Time {
						t.Fatal("the event's time is not the packet's")
					}
					started[e.Track]++
				}
			}
			for tr := range started {
				if tr.Participant != "p" || tr.Connection != 7 || tr.Stream != "stream" || tr.Feedback == nil || tr.Retransmits != (tr.Kind == media.Video) {
					t.Errorf("track is %+v", tr)
				}
				if tr.Kind == media.Video && tr.Codecs[96] != media.VP8 || tr.Kind == media.Audio && tr.Codecs[111] != media.Opus {
					t.Errorf("codecs of %v are %v", tr.Kind, tr.Codecs)
				}
			}
			if len(started) != 2 {
				t.Errorf("%d tracks, want 2", len(started))
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			events = log.until(t, "the end", func([]signaling.Event) bool { return true })
			if n := count(events, signaling.TrackEnded); n != 2 {
				t.Errorf("%d tracks ended, want 2", n)
			}
		})
	}
}
