package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/roomtape/roomtape/internal/lossy"
	"github.com/roomtape/roomtape/internal/marked"
	"github.com/roomtape/roomtape/signaling/synthetic"
)

const (
	room     = "soak"
	recorder = "recorder"
	// settle is how long the recorder is watched with nobody in the room,
	// before and after: goroutines of connections that ended without a word
	// take 40 s to find out.
	settle = 75 * time.Second
)

// soak does all of it. Its error is one of the surroundings; what is wrong with
// the recording is in the summary.
func soak(ctx context.Context, s settings, dir string) (*summary, error) {
	clip, err := readClip(s.clips)
	if err != nil {
		return nil, err
	}
	log, err := marked.NewLog(clip)
	if err != nil {
		return nil, err
	}
	server, err := newServer(s, dir)
	if err != nil {
		return nil, err
	}
	defer server.kill()
	relay := lossy.NewRelay(s.seed)
	defer relay.Close()
	relay.Set("*", "*", lossy.Odds{Loss: s.loss, Delay: s.delay})
	proxy := lossy.NewProxy(relay, "ws://"+server.address)
	defer proxy.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	front := &http.Server{Handler: proxy, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = front.Serve(listener) }() // until Close
	defer front.Close()
	url := fmt.Sprintf("ws://%s/ws/%s", listener.Addr(), room)

	tape, err := startRecorder(ctx, s, dir, url)
	if err != nil {
		return nil, err
	}
	defer tape.kill()
	c := &crowd{s: s, clip: clip, log: log, relay: relay, url: url, random: rand.New(rand.NewPCG(s.seed, 1))}
	if err := tape.joined(ctx); err != nil {
		return nil, err
	}
	visitor, err := c.join(ctx, "visitor")
	if err != nil {
		return nil, err
	}
	wait(ctx, 5*time.Second)
	_ = visitor.Close() // what it returns is of connections that broke
	if err := tape.baseline(ctx); err != nil {
		return nil, err
	}
	playing, stop := context.WithTimeout(ctx, s.duration)
	defer stop()
	var wg sync.WaitGroup
	for i := range s.publishers {
		wg.Go(func() { c.person(playing, fmt.Sprintf("p%02d", i)) })
	}
	wg.Go(func() { server.restarts(playing, s.restart, c.tell) })
	began := time.Now()
	var stalls []stall
	wg.Go(func() { stalls = watch(playing) })
	for tick := time.NewTicker(sampleEvery); playing.Err() == nil; {
		select {
		case <-playing.Done():
			tick.Stop()
		case <-tick.C:
			if err := tape.sample(c.present()); err != nil {
				return nil, err
			}
			if n := len(tape.samples); n%12 == 0 {
				fmt.Fprintf(os.Stderr, "%8v  %v\n", time.Since(began).Round(time.Second), tape.samples[n-1])
			}
		}
	}
	took := time.Since(began)
	wg.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err := tape.rest(ctx); err != nil {
		return nil, err
	}
	if err := tape.keep(filepath.Join(dir, "heap.pprof")); err != nil {
		return nil, err
	}
	if err := tape.stop(); err != nil {
		return nil, err
	}
	result, err := log.Check(tape.session)
	if err != nil {
		return nil, err
	}
	sum := &summary{
		Seconds: took.Seconds(), Publishers: s.publishers, Loss: s.loss, Delay: s.delay.String(),
		Restarts: server.count, Stays: c.stays, Rejoins: c.rejoins, Vanished: c.vanished,
		Relay: relay.Counts("*", "*"), Connections: result.Connections, Files: result.Files,
		Stalls: stalls, Video: result.Video, Audio: result.Audio, State: result.Manifest.State,
	}
	sum.judgeMedia(result)
	sum.judgeManifest(result.Manifest)
	sum.judgeProcess(tape)
	if err := sum.judgeFiles(ctx, s, tape.session, result.Manifest); err != nil {
		return nil, err
	}
	return sum, nil
}

func readClip(dir string) (*synthetic.Clip, error) {
	video, err := os.ReadFile(filepath.Join(dir, "alice.ivf"))
	if err != nil {
		return nil, err
	}
	audio, err := os.ReadFile(filepath.Join(dir, "alice.ogg"))
	if err != nil {
		return nil, err
	}
	return synthetic.ReadClip(bytes.NewReader(video), bytes.NewReader(audio))
}

// crowd are the people.
type crowd struct {
	s     settings
	clip  *synthetic.Clip
	log   *marked.Log
	relay *lossy.Relay
	url   string

	mu       sync.Mutex
	random   *rand.Rand
	restart  chan struct{} // closed when the server is back
	here     int
	stays    int
	rejoins  int
	vanished int
}

// between draws a time, evenly.
func (c *crowd) between(from, to time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return from + time.Duration(c.random.Float64()*float64(to-from))
}

// one draws whether something happens that happens once in n times.
func (c *crowd) one(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.random.IntN(n) == 0
}

func (c *crowd) present() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.here
}

// count changes a counter.
func (c *crowd) count(n *int, by int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*n += by
}

// tell lets everyone know that the server has been started again.
func (c *crowd) tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.restart != nil {
		close(c.restart)
	}
	c.restart = make(chan struct{})
}

// told gives what is closed at the next restart.
func (c *crowd) told() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.restart == nil {
		c.restart = make(chan struct{})
	}
	return c.restart
}

// join brings somebody in, who plays to the recorder alone.
func (c *crowd) join(ctx context.Context, id string) (*synthetic.Peer, error) {
	return synthetic.Join(ctx, synthetic.Config{
		URL: c.url, Room: room, PeerID: id, Clip: c.clip, Loopback: true,
		Source: c.log.Source(id),
		Ignore: func(other string) bool { return !strings.HasPrefix(other, recorder) },
	})
}

// person comes and goes under one id, until ctx is done.
func (c *crowd) person(ctx context.Context, id string) {
	wait(ctx, c.between(0, 5*time.Second))
	for ctx.Err() == nil {
		told := c.told()
		p, err := c.join(ctx, id)
		if err != nil { // the server is away
			wait(ctx, time.Second)
			continue
		}
		c.count(&c.here, 1)
		c.count(&c.stays, 1)
		c.stay(ctx, p, told)
		if ctx.Err() == nil && c.one(5) {
			c.vanish(id, p)
		} else {
			_ = p.Close() // what it returns is of connections that broke
		}
		c.count(&c.here, -1)
		if !c.one(5) { // else they reload
			wait(ctx, c.between(time.Second, 15*time.Second))
		}
	}
}

// stay is what happens between coming and leaving.
func (c *crowd) stay(ctx context.Context, p *synthetic.Peer, told <-chan struct{}) {
	longest := min(6*time.Minute, c.s.duration/2)
	leave := time.NewTimer(c.between(10*time.Second, longest))
	defer leave.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-leave.C:
			return
		case <-told:
		}
		told = c.told()
		if c.one(4) {
			continue // they don't notice, or don't mind
		}
		wait(ctx, c.between(0, 3*time.Second))
		for ctx.Err() == nil {
			if err := p.Rejoin(ctx); err == nil {
				c.count(&c.rejoins, 1)
				break
			}
			wait(ctx, time.Second)
		}
	}
}

// vanish ends a participant whose network is gone before.
func (c *crowd) vanish(id string, p *synthetic.Peer) {
	c.count(&c.vanished, 1)
	usual := lossy.Odds{Loss: c.s.loss, Delay: c.s.delay}
	gone := lossy.Odds{Loss: 1}
	p.Stop()
	c.relay.Set(id, "*", gone)
	c.relay.Set("*", id, gone)
	_ = p.Close()
	c.relay.Set(id, "*", usual)
	c.relay.Set("*", id, usual)
}

// stall is a time in which this process, and so the network and everybody who
// plays, did nothing: the machine had no time for it.
type stall struct {
	At   float64 `json:"at_s"`
	Long float64 `json:"seconds"`
}

// watch notes the stalls until ctx is done.
func watch(ctx context.Context) []stall {
	const step, long = 20 * time.Millisecond, 500 * time.Millisecond
	var stalls []stall
	tick := time.NewTicker(step)
	defer tick.Stop()
	began := time.Now()
	for last := began; ; {
		select {
		case <-ctx.Done():
			return stalls
		case <-tick.C:
		}
		now := time.Now()
		if d := now.Sub(last); d > long {
			stalls = append(stalls, stall{last.Sub(began).Seconds(), d.Seconds()})
		}
		last = now
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
