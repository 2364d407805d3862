package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
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

// TestCloseEndsEverything: with real sockets, whichever side ends the call, no
// goroutine stays.
func TestCloseEndsEverything(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("calls", func(t *testing.T) {
		f := newTestFactory(t, Config{})
		log := newEventLog()
		c := connect(t, f, Options{Sink: log.sink})
		s := newSender(t, webrtc.MimeTypeVP8)
		s.answer(t, c)
		s.send(t, 0, 1, 10)
		log.until(t, "packets", func(e []signaling.Event) bool { return count(e, signaling.PacketArrived) == 10 })
		start := time.Now()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d > closeWait {
			t.Errorf("closing took %v", d)
		}
		if _, err := c.Offer(); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close, Offer says %v", err)
		}

		log = newEventLog()
		c = connect(t, f, Options{Sink: log.sink})
		s = newSender(t, webrtc.MimeTypeVP8)
		s.offer(t, c, nil)
		s.send(t, 0, 1, 10)
		log.until(t, "packets", func(e []signaling.Event) bool { return count(e, signaling.PacketArrived) == 10 })
		if err := s.pc.Close(); err != nil { // they say goodbye
			t.Error(err)
		}
		log.until(t, "the end", func(e []signaling.Event) bool { return count(e, signaling.TrackEnded) == 1 })
		connect(t, f, Options{}) // one that never does anything, for the factory to close
	})
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before; {
		if time.Now().After(deadline) {
			var b [1 << 16]byte
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, b[:runtime.Stack(b[:], true)])
		}
		runtime.Gosched()
	}
}

func TestParseICEServer(t *testing.T) {
	for in, want := range map[string]ICEServer{
		"stun:example.org":                            {URL: "stun:example.org:3478"},
		"stun:[2001:db8::1]:99":                       {URL: "stun:[2001:db8::1]:99"},
		"stuns:example.org":                           {URL: "stuns:example.org:5349"},
		"turn:u:p@example.org":                        {URL: "turn:example.org:3478", User: "u", Password: "p"},
		"turn:u:p:q%40@example.org:1?transport=tcp":   {URL: "turn:example.org:1?transport=tcp", User: "u", Password: "p:q@"},
		"TURNS:1700000000:me@example.org":             {URL: "turns:example.org:5349", User: "1700000000", Password: "me"},
		"turn://u:100%25+/=@10.0.0.1?transport=udp":   {URL: "turn:10.0.0.1:3478?transport=udp", User: "u", Password: "100%+/="},
		"turn:1700000000%3Ame:secret@host.example:80": {URL: "turn:host.example:80", User: "1700000000:me", Password: "secret"},
	} {
		if got, err := ParseICEServer(in); got != want || err != nil {
			t.Errorf("%s: %q %q %q, %v", in, got.URL, got.User, got.Password, err)
		}
	}
	for _, in := range []string{
		"", "example.org", "http://example.org", "stun:", "stun:u:hunter2@example.org", "turn:example.org",
		"turn:hunter2@example.org", "turn:u:hunter2@", "turn:u:hunter2@example.org:x", "turn:u:hunter2@example.org:70000",
		"turn:u:hunter2@example.org?transport=sctp", "stun:example.org?transport=udp", "stun:a:b:c", "turn:u:hunter2@a b",
	} {
		got, err := ParseICEServer(in)
		if err == nil {
			t.Errorf("%q was taken for %+v", in, got)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
	for in, want := range map[string]ICEServer{
		"turn:example.org?transport=tcp": {URL: "turn:example.org:3478?transport=tcp", User: "rec", Secret: "hunter2"},
		"turns:example.org":              {URL: "turns:example.org:5349", User: "rec", Secret: "hunter2"},
		"turn:u:p@example.org":           {URL: "turn:example.org:3478", User: "u", Password: "p"},
		"stun:example.org":               {URL: "stun:example.org:3478"},
	} {
		if got, err := ParseICEServerWithSecret(in, "hunter2", "rec"); got != want || err != nil {
			t.Errorf("%s with a secret: %q %q, %v", in, got.URL, got.User, err)
		}
	}
	if got, err := ParseICEServerWithSecret("turn:hunter2@example.org", "north", "rec"); err == nil {
		t.Errorf("a user alone was taken for %+v", got)
	}
	s := ICEServer{URL: "turn:x", User: "u", Password: "hunter2", Secret: "hunter2"}
	if text := fmt.Sprintf("%v %+v %#v %s", s, s, s, &s); strings.Contains(text, "hunter2") {
		t.Errorf("printing tells the password: %s", text)
	}
}

// TestArrivalsAreTheKernels: a packet is stamped when the kernel got it, not
// when a goroutine came round to it.
func TestArrivalsAreTheKernels(t *testing.T) {
	var a arrivals
	now := time.Now()
	packet := func(ssrc uint32, seq uint16) []byte {
		b := make([]byte, 20)
		b[0], b[1] = 0x80, 96
		binary.BigEndian.PutUint16(b[2:], seq)
		binary.BigEndian.PutUint32(b[8:], ssrc)
		return b
	}
	a.put(packet(7, 9), now.Add(-15*time.Millisecond).UnixNano())
	a.put(packet(7, 10), now.Add(time.Minute).UnixNano()) // the clock was set back
	a.put([]byte{0x80}, 1)
	for _, tt := range []struct {
		b    []byte
		want time.Duration
	}{
		{packet(7, 9), 15 * time.Millisecond}, {packet(7, 10), 0}, {packet(8, 9), 0}, {nil, 0},
	} {
		if got := now.Sub(a.of(key(tt.b), now, time.Second)); got != tt.want {
			t.Errorf("arrived %v ago, want %v", got, tt.want)
		}
	}
}

// FuzzAnswer: no description makes us panic or hang.
func FuzzAnswer(f *testing.F) {
	f.Add(remoteHead + remoteAudio + remoteVideo)
	f.Add("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n" +
		"a=fingerprint:sha-256 00:11\r\na=setup:actpass\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\n")
	// Where captures of browsers' offers are at hand, they are seeds too.
	for _, name := range []string{"chromium_audio_video_sdp.txt", "firefox_audio_video_sdp.txt", "obs_audio_video_sdp.txt"} {
		if b, err := os.ReadFile("../../../shared/captures/elixir-webrtc-ex_webrtc/test/fixtures/sdp/" + name); err == nil {
			f.Add(string(b))
		}
	}
	factory, err := NewFactory(Config{Loopback: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = factory.Close() })
	f.Fuzz(func(t *testing.T, text string) {
		c, err := factory.Connect(Options{Sink: func(signaling.Event) {}})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		d := message.Description{Type: "offer", SDP: text}
		c.Continues(d)
		_, _ = c.Answer(d)
		_ = c.AddCandidate(message.Candidate{Candidate: text})
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > patience/2 {
			t.Fatalf("it took %v", d)
		}
	})
}
