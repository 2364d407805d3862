package netsim_test

import (
	"context"
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/netsim"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/peer"
)

// pictureTime is that of one picture of a publisher.
const pictureTime = time.Second / 25

var update = flag.Bool("update", false, "run the scenarios at full length and write the table of docs/RELIABILITY.md")

// scenario is a call over a bad network.
type scenario struct {
	name string
	net  netsim.Config
	pub  netsim.PublisherConfig
	// script is what happens during the call; nil: nothing.
	script func(c *connected)
	// share is the part of the pictures that must be in the file, where nothing
	// happens that no recorder can do anything about.
	share float64
	// tell is told of each frame that is written.
	tell func(c *connected, f media.Frame)
}

const (
	// rtt100 is one way of a round trip of 100 ms.
	rtt100 = 50 * time.Millisecond
	// encodeTime is how much longer pictures are on their way than sounds.
	encodeTime = 8 * time.Millisecond
)

var scenarios = []scenario{
	{name: "no loss", share: 1},
	{name: "1 % random loss", net: netsim.Config{Loss: 0.01}, share: 0.9999},
	{name: "5 % random loss", net: netsim.Config{Loss: 0.05}, share: 0.9999},
	{name: "10 % random loss", net: netsim.Config{Loss: 0.10}, share: 0.9999},
	{name: "20 % random loss", net: netsim.Config{Loss: 0.20}, share: 0.995},
	{name: "5 % loss, 50 ms jitter and reordering", net: netsim.Config{Loss: 0.05, Jitter: 50 * time.Millisecond}, share: 0.9999},
	{name: "bursts of 200 ms", script: bursts},
	{name: "a blackout of 2 s", script: blackout(2 * time.Second)},
	{name: "a blackout of 30 s, ICE restart", script: restart},
	{name: "300 ms round trip, 10 % loss", net: netsim.Config{Delay: 150 * time.Millisecond, Loss: 0.10}, share: 0.995},
	{name: "20 % of the packets twice, 10 % late", net: netsim.Config{Duplicate: 0.2, Reorder: 0.1}, share: 1},
	{name: "a link that corrupts 5 %", script: corrupt},
	{name: "3 % loss, a sender that stands still for up to 3 s", net: netsim.Config{Loss: 0.03}, pub: netsim.PublisherConfig{History: 1024, ReportSent: true}, script: standing, share: 0.9999},
	{name: "5 % loss, audio without NACK", net: netsim.Config{Loss: 0.05}, pub: netsim.PublisherConfig{PlainAudio: true}, share: 0.9999},
	{name: "5 % loss, a sender that keeps nothing", net: netsim.Config{Loss: 0.05}, pub: netsim.PublisherConfig{History: -1, FIR: true}},
	{name: "the same in three temporal layers", net: netsim.Config{Loss: 0.05}, pub: netsim.PublisherConfig{History: -1, Layers: 3}},
}

// connected is a call that is being recorded.
type connected struct {
	n      *netsim.Net
	conn   *peer.Conn
	pub    *netsim.Publisher
	length time.Duration
	// up is when the network came back, by the script.
	up time.Time
}

func bursts(c *connected) {
	for end := time.Now().Add(c.length); time.Now().Before(end); {
		time.Sleep(1800 * time.Millisecond)
		c.n.SetDown(true)
		time.Sleep(200 * time.Millisecond)
		c.n.SetDown(false)
	}
}

func blackout(d time.Duration) func(c *connected) {
	return func(c *connected) {
		time.Sleep(c.length / 2)
		c.n.SetDown(true)
		time.Sleep(d)
		c.n.SetDown(false)
		c.up = time.Now()
		time.Sleep(c.length / 2)
	}
}

func restart(c *connected) {
	time.Sleep(c.length / 2)
	c.n.SetDown(true)
	time.Sleep(30 * time.Second)
	c.n.SetDown(false)
	c.up = time.Now()
	offer, err := c.conn.Offer()
	if err != nil {
		c.n.T().Fatal(err)
	}
	if err := c.conn.Accept(c.pub.Answer(offer)); err != nil {
		c.n.T().Fatal(err)
	}
	time.Sleep(c.length / 2)
}

func corrupt(c *connected) {
	c.n.Change(func(cfg *netsim.Config) { cfg.Corrupt = 0.05 })
	time.Sleep(c.length)
}

// standing is a machine that every few seconds has no time for the sender, first
// before a report has come.
func standing(c *connected) {
	end := time.Now().Add(c.length)
	time.Sleep(200 * time.Millisecond)
	for i := 0; time.Now().Before(end); i++ {
		c.pub.Stand([]time.Duration{800, 400, 1700, 200, 3000}[i%5] * time.Millisecond)
		time.Sleep(4700 * time.Millisecond)
	}
}

// play records a call.
func (s scenario) play(t *testing.T, length time.Duration, seed uint64) (o *outcome, c *connected) {
	dir := t.TempDir()
	cfg := s.net
	cfg.Seed, cfg.LoseAll = seed, true
	if cfg.Delay == 0 {
		cfg.Delay = rtt100
	}
	pub := s.pub
	pub.FrameSize = 4500 // four packets
	pub.EncodeTime = encodeTime
	if pub.History == 0 {
		pub.History = 128 // a second
	}
	netsim.Run(t, cfg, func(n *netsim.Net) {
		t := n.T()
		f, err := peer.NewFactory(peer.Config{Net: n.Host()})
		if err != nil {
			t.Fatal(err)
		}
		n.Cleanup(func() { _ = f.Close() })
		room := call{signaling.NewQueue(0)}
		room.Push(signaling.Event{Kind: signaling.Joined, Time: time.Now(), Participant: "p"})
		conn, err := f.Connect(peer.Options{Participant: "p", Connection: 1, Sink: func(e signaling.Event) { room.Push(e) }})
		if err != nil {
			t.Fatal(err)
		}
		c = &connected{n: n, conn: conn, pub: n.Publisher(pub), length: length}
		var tell func(media.Frame)
		if s.tell != nil {
			tell = func(f media.Frame) { s.tell(c, f) }
		}
		session, done := record(t, dir, tell), make(chan error, 1)
		go func() { done <- session.Run(context.Background(), room) }()
		offer, err := conn.Offer()
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Accept(c.pub.Answer(offer)); err != nil {
			t.Fatal(err)
		}
		c.pub.Start()
		if s.script != nil {
			s.script(c)
		} else {
			time.Sleep(length)
		}
		c.pub.Stop()
		time.Sleep(4 * time.Second) // for what is sent again
		c.pub.Close()
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		room.Queue.Close(nil)
		if err := <-done; err != nil {
			t.Error(err)
		}
		o = measure(t, dir, c, session.Manifest())
		o.picture(c, 2*cfg.Delay)
	})
	return o, c
}

// TestReliability records calls over bad networks and holds what is in the files
// against what was sent. With -update the calls are long, as the targets are
// meant, and what comes of them is written into docs/RELIABILITY.md.
func TestReliability(t *testing.T) {
	length := 20 * time.Second
	if *update {
		length = 400 * time.Second
	}
	var table []row
	for i, s := range scenarios {
		if underRace && i%4 != 0 {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			o, c := s.play(t, length, 1)
			s.check(t, o)
			table = append(table, o.row(s, c))
			t.Logf("%+v", table[len(table)-1])
		})
	}
	switch listed := names(readTable(t)); {
	case *update && !t.Failed():
		writeTable(t, table)
	case len(table) == len(scenarios) && !slices.Equal(listed, names(table)):
		t.Errorf("docs/RELIABILITY.md lists %q; make reliability", listed)
	}
}

// check holds an outcome against the targets.
func (s scenario) check(t *testing.T, o *outcome) {
	t.Helper()
	if o.undecodable != 0 || o.damaged != 0 {
		t.Errorf("%d frames can't be decoded, %d are not what was sent", o.undecodable, o.damaged)
	}
	missing := o.videoSent - o.video
	allowed := int(float64(o.videoSent) * (1 - s.share))
	if !*update && s.share < 0.9999 {
		allowed += 30 // one break, which in a long call is within the target
	}
	if missing > allowed && s.script == nil {
		t.Errorf("%d of %d pictures are missing, more than %d", missing, o.videoSent, allowed)
	}
	overtaken := 0
	if s.net.Jitter > 0 {
		overtaken = 3 // by the first one that came
	}
	if o.audio > o.delivered || o.audio < o.delivered-overtaken {
		t.Errorf("%d frames of audio in the file, but the network has delivered %d", o.audio, o.delivered)
	}
	limit95, limit := 10*time.Millisecond, 20*time.Millisecond
	if !*update && s.net.Jitter > 0 { // the beginning counts for more
		limit95, limit = 15*time.Millisecond, 30*time.Millisecond
	}
	for name, times := range map[string][]time.Duration{"between sound and picture": o.skew, "from their places": o.off} {
		if p95, most := percentile(times, 95), percentile(times, 100); len(times) == 0 || p95 > limit95 || most > limit {
			t.Errorf("frames are off %s by %v (p95) and %v (at most)", name, p95, most)
		}
	}
	if o.back > o.couldBack+pictureTime { // which may be sent just before what asks for it comes
		t.Errorf("the picture was back %v after the network, and could have been after %v", o.back, o.couldBack)
	}
	if s.pub.History >= 0 && (o.gaps-o.videoLost).Abs() > 500*time.Millisecond {
		t.Errorf("the manifest has gaps of %v, but %v are missing", o.gaps, o.videoLost)
	}
}
