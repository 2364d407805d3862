package netsim_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/internal/netsim"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/peer"
)

var messages = flag.Int("messages", 20_000, "how many messages TestGameIsRecorded sends; make messages sends 200,000")

// table is a recorder of messages and those who play.
type table struct {
	*netsim.Net
	t       *testing.T
	dir     string
	room    call
	factory *peer.Factory
	done    chan error
	over    func() // ends the session
}

// sit makes a table.
func sit(n *netsim.Net, dir string) *table {
	t := n.T()
	f, err := peer.NewFactory(peer.Config{Net: n.Host()})
	if err != nil {
		t.Fatal(err)
	}
	n.Cleanup(func() { _ = f.Close() })
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	n.Cleanup(func() { _ = root.Close() })
	store := output.OpenDir(root, output.DirOptions{NoSync: true})
	s, err := recorder.NewSession(recorder.Config{
		Store: store, Messages: store, AllowControl: true, Start: time.Now(), Fsync: recorder.FsyncNever,
		NewMuxer: func(w io.Writer, _ recorder.MuxerOptions) (output.Muxer, error) {
			return webm.NewWriter(w, webm.Config{})
		},
		Ext: func([]media.Codec) string { return ".webm" },
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &table{Net: n, t: t, dir: dir, room: call{signaling.NewQueue(0)}, factory: f, done: make(chan error, 1)}
	b.over = sync.OnceFunc(func() { b.room.Queue.Close(nil) })
	go func() { b.done <- s.Run(context.Background(), b.room) }()
	return b
}

// player connects somebody to the recorder, without media.
func (b *table) player(id string) (*netsim.Publisher, *peer.Conn) {
	b.t.Helper()
	b.room.Push(signaling.Event{Kind: signaling.Joined, Time: time.Now(), Participant: id})
	c, err := b.factory.Connect(peer.Options{
		Participant: id, Sink: func(e signaling.Event) { b.room.Push(e) },
		OnMessage: func(m peer.Message, stop <-chan struct{}) {
			b.room.PushMessage(signaling.Event{
				Kind: signaling.MessageArrived, Participant: id,
				Message: &signaling.Message{Label: m.Label, Text: m.Text, Data: m.Data, Reply: m.Reply},
			}, stop)
		},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	p := b.Publisher(netsim.PublisherConfig{NoAudio: true, NoVideo: true})
	offer, err := c.Offer()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := c.Accept(p.Answer(offer)); err != nil {
		b.t.Fatal(err)
	}
	return p, c
}

// opened opens an ordered channel and waits for it.
func (b *table) opened(p *netsim.Publisher, label string) *webrtc.DataChannel {
	b.t.Helper()
	dc, err := p.PC.CreateDataChannel(label, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	open := make(chan struct{})
	dc.OnOpen(func() { close(open) })
	select {
	case <-open:
	case <-time.After(time.Minute):
		b.t.Fatalf("data channel %q does not open", label)
	}
	return dc
}

// lines ends the session and gives what it has written.
func (b *table) lines() (list []recorder.MessageEntry, m recorder.Manifest) {
	b.t.Helper()
	b.over()
	if err := <-b.done; !errors.Is(err, recorder.ErrNoMedia) {
		b.t.Error(err)
	}
	text, err := os.ReadFile(filepath.Join(b.dir, recorder.ManifestName))
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(b.dir, "messages.jsonl"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(bufio.NewReader(f)); s.Scan(); {
		var e recorder.MessageEntry
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			b.t.Fatalf("line %q: %v", s.Text(), err)
		}
		list = append(list, e)
	}
	return list, m
}

// TestGameIsRecorded: ten peers say twenty things a second each over a network that
// loses every twentieth packet, whatever is in it. All of it is in the file, once,
// and in order.
func TestGameIsRecorded(t *testing.T) {
	const players = 10
	each := *messages / players
	dir := t.TempDir()
	began := time.Now()
	netsim.Run(t, netsim.Config{Delay: 20 * time.Millisecond, Seed: 6}, func(n *netsim.Net) {
		b := sit(n, dir)
		var channels []*webrtc.DataChannel
		for i := range players {
			p, _ := b.player(fmt.Sprint("p", i))
			channels = append(channels, b.opened(p, peer.Messages))
		}
		n.Change(func(c *netsim.Config) { c.Loss, c.LoseAll = 0.05, true })
		var wg sync.WaitGroup
		for i, dc := range channels {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 5 * time.Millisecond)
				for k := range each {
					if err := dc.SendText(fmt.Sprintf(`{"type":"move","n":%d}`, k)); err != nil {
						n.T().Error(err)
						return
					}
					time.Sleep(50 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		time.Sleep(10 * time.Second) // for what is sent again
		lines, m := b.lines()
		if m.Messages == nil || m.Messages.Count != int64(players*each) || m.Messages.Dropped != nil {
			n.T().Errorf("the manifest says %+v", m.Messages)
		}
		next := map[string]int{}
		last := int64(0)
		for _, e := range lines {
			if want := fmt.Sprintf(`{"type":"move","n":%d}`, next[e.Participant]); e.Text == nil || *e.Text != want || e.Label != "messages" {
				n.T().Fatalf("%s: %+v; want %s", e.Participant, e, want)
			}
			next[e.Participant]++
			if e.AtMS < last {
				n.T().Fatalf("time goes back from %d to %d", last, e.AtMS)
			}
			last = e.AtMS
		}
		for i := range players {
			if got := next[fmt.Sprint("p", i)]; got != each {
				n.T().Errorf("p%d: %d messages of %d", i, got, each)
			}
		}
	})
	t.Logf("%d messages in %v", players*each, time.Since(began).Round(time.Millisecond))
}

// TestChannelsComeAndGo: channels of any label, text and binary; a peer closes its
// own and ours, and opens it again, often; what is one too many is closed, and the
// connection goes on.
func TestChannelsComeAndGo(t *testing.T) {
	dir := t.TempDir()
	netsim.Run(t, netsim.Config{Delay: 20 * time.Millisecond}, func(n *netsim.Net) {
		b := sit(n, dir)
		t := n.T()
		p, c := b.player("p")
		var mu sync.Mutex
		var heard []string
		var ours []*webrtc.DataChannel
		p.PC.OnDataChannel(func(dc *webrtc.DataChannel) {
			mu.Lock()
			ours = append(ours, dc)
			mu.Unlock()
			dc.OnMessage(func(m webrtc.DataChannelMessage) {
				mu.Lock()
				defer mu.Unlock()
				heard = append(heard, string(m.Data))
			})
		})
		want := 0
		say := func(dc *webrtc.DataChannel) {
			if err := dc.Send(fmt.Append(nil, want)); err != nil {
				t.Fatal(err)
			}
			want++
		}
		for range 40 { // more than may be open at a time
			dc := b.opened(p, "game")
			say(dc)
			if err := dc.GracefulClose(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		for i := range 3 {
			mu.Lock()
			last := ours[len(ours)-1]
			mu.Unlock()
			if err := last.Close(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
			if err := c.Send(peer.Messages, fmt.Append(nil, "again ", i)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		mu.Lock()
		if got := fmt.Sprint(heard); got != "[again 0 again 1 again 2]" || len(ours) != 4 {
			t.Errorf("heard %s on %d channels", got, len(ours))
		}
		mu.Unlock()
		var many []*webrtc.DataChannel
		for i := range peer.MaxChannels + 5 {
			dc, err := p.PC.CreateDataChannel(fmt.Sprint("c", i), nil)
			if err != nil {
				t.Fatal(err)
			}
			many = append(many, dc)
		}
		time.Sleep(5 * time.Second)
		open := 0
		for _, dc := range many {
			if dc.ReadyState() == webrtc.DataChannelStateOpen {
				open++
				say(dc)
				time.Sleep(100 * time.Millisecond)
			}
		}
		if open != peer.MaxChannels-1 { // and ours
			t.Errorf("%d channels are open", open)
		}
		time.Sleep(time.Second)
		lines, _ := b.lines()
		if len(lines) != want {
			t.Errorf("%d messages of %d", len(lines), want)
		}
		for i, e := range lines {
			if e.Base64 == nil || string(*e.Base64) != fmt.Sprint(i) {
				t.Errorf("message %d is %+v", i, e)
			}
		}
	})
}

// TestPeersStopAndStart: over a real data channel a recorder is stopped and started
// again, and goes on.
func TestPeersStopAndStart(t *testing.T) {
	dir := t.TempDir()
	netsim.Run(t, netsim.Config{Delay: 20 * time.Millisecond}, func(n *netsim.Net) {
		b := sit(n, dir)
		t := n.T()
		p, _ := b.player("p")
		dc := b.opened(p, "control")
		answers := make(chan string, 1)
		dc.OnMessage(func(m webrtc.DataChannelMessage) {
			var a struct {
				State string
				OK    bool
			}
			if err := json.Unmarshal(m.Data, &a); err != nil {
				t.Error(err)
			}
			answers <- fmt.Sprint(a.State, " ", a.OK)
		})
		ask := func(action, want string) {
			t.Helper()
			if err := dc.SendText(`{"type":"recording","action":"` + action + `"}`); err != nil {
				t.Fatal(err)
			}
			select {
			case got := <-answers:
				if got != want {
					t.Errorf("%s is answered by %s, not %s", action, got, want)
				}
			case <-time.After(time.Minute):
				t.Fatalf("%s is not answered", action)
			}
			time.Sleep(10 * time.Second)
		}
		ask("pause", "paused true")
		ask("start", "started true")
		ask("stop", "stopped true")
		ask("pause", "stopped false")
		ask("start", "started true")
		ask("pause", "paused true")
		ask("stop", "stopped true")
		ask("status", "stopped true")
		ask("start", "started true")
		if err := dc.SendText("at last"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		_, m := b.lines()
		if len(m.Stops) != 2 || len(m.Pauses) != 2 || m.StoppedBy != "" || m.Stops[1].ResumedBy != "p" {
			t.Errorf("stops %+v, pauses %+v, stopped by %q", m.Stops, m.Pauses, m.StoppedBy)
		}
	})
}

// TestFloodIsSlowedDown: a peer that says as much as it can is slowed down to what
// is allowed, costs little memory, and holds nobody else up.
func TestFloodIsSlowedDown(t *testing.T) {
	dir := t.TempDir()
	netsim.Run(t, netsim.Config{Delay: 5 * time.Millisecond}, func(n *netsim.Net) {
		b := sit(n, dir)
		t := n.T()
		bad, conn := b.player("bad")
		good, _ := b.player("good")
		flood, fine := b.opened(bad, "messages"), b.opened(good, "messages")
		const size = 16 << 10
		stop := make(chan struct{})
		var wg sync.WaitGroup
		room := make(chan struct{}, 1)
		flood.SetBufferedAmountLowThreshold(1 << 20)
		flood.OnBufferedAmountLow(func() {
			select {
			case room <- struct{}{}:
			default:
			}
		})
		sent := 0
		wg.Go(func() {
			data := make([]byte, size)
			for {
				if flood.BufferedAmount() > 2<<20 {
					select {
					case <-room:
					case <-stop:
						return
					}
				}
				if flood.Send(data) != nil {
					return
				}
				sent++
			}
		})
		var before, after runtime.MemStats
		time.Sleep(5 * time.Second)
		runtime.GC()
		runtime.ReadMemStats(&before)
		const seconds = 20
		for i := range 20 * seconds {
			if err := fine.SendText(fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		close(stop)
		wg.Wait()
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
			t.Errorf("%d more bytes are in use after %d s of flood", grown, seconds)
		}
		if err := conn.Close(); err != nil { // while much waits
			t.Error(err)
		}
		lines, _ := b.lines()
		count := map[string]int{}
		for _, e := range lines {
			if e.Participant == "good" && *e.Text != fmt.Sprint(count["good"]) {
				t.Fatalf("%s after %d", *e.Text, count["good"])
			}
			count[e.Participant]++
		}
		limit := (peer.BytesBurst + (seconds+7)*peer.MessageBytes) / size
		if count["good"] != 20*seconds || count["bad"] > limit || count["bad"] < limit/2 || sent < count["bad"] {
			t.Errorf("%v messages, of %d sent, at most %d", count, sent, limit)
		}
	})
}
