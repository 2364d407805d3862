package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/webrtc/v4"
)

// venue is a kind of server.
type venue interface {
	name() string
	// start runs a new process of it, which ends with ctx, and returns when it
	// takes participants.
	start(ctx context.Context) (*server, error)
	// join makes the connections of a participant who publishes p's tracks. The
	// participant lives until ctx is done.
	join(ctx context.Context, c *crowd, p *publisher) (member, error)
}

// member is a participant in a room.
type member interface {
	// subscribe asks for the tracks of others, all of whom have joined.
	subscribe(ctx context.Context, others []int) error
}

// crowd is the participants of a room.
type crowd struct {
	settings
	api        *webrtc.API
	publishers []*publisher
	audiences  []*audience
	stop       context.CancelFunc
	wg         sync.WaitGroup

	mu    sync.Mutex
	conns []*webrtc.PeerConnection

	from, to [][kinds]uint32
}

// newAPI makes pion's default connections with the feedback that browsers give.
func newAPI() (*webrtc.API, error) {
	var engine webrtc.SettingEngine
	engine.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	engine.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	engine.SetIncludeLoopbackCandidate(true)
	engine.LoggerFactory = &logging.DefaultLoggerFactory{Writer: io.Discard}
	codecs, registry := &webrtc.MediaEngine{}, &interceptor.Registry{}
	if err := codecs.RegisterDefaultCodecs(); err != nil {
		return nil, err
	}
	if err := webrtc.ConfigureTWCCHeaderExtensionSender(codecs, registry); err != nil {
		return nil, err
	}
	if err := webrtc.RegisterDefaultInterceptors(codecs, registry); err != nil {
		return nil, err
	}
	return webrtc.NewAPI(webrtc.WithMediaEngine(codecs), webrtc.WithSettingEngine(engine), webrtc.WithInterceptorRegistry(registry)), nil
}

// gather fills a room: everybody publishes, and is sent the tracks of the next
// s.subscribers others.
func gather(ctx context.Context, s settings, v venue) (*crowd, error) {
	api, err := newAPI()
	if err != nil {
		return nil, err
	}
	c := &crowd{settings: s, api: api}
	ctx, c.stop = context.WithCancel(ctx)
	var members []member
	for i := range s.participants {
		p, err := newPublisher(i)
		if err == nil {
			var m member
			c.publishers, c.audiences = append(c.publishers, p), append(c.audiences, &audience{tracks: map[[2]byte]*heard{}})
			m, err = v.join(ctx, c, p)
			members = append(members, m)
		}
		if err != nil {
			c.close()
			return nil, fmt.Errorf("participant %d joining: %w", i, err)
		}
		c.wg.Go(func() { p.play(ctx, s.bitrate) })
	}
	for i, m := range members {
		var others []int
		for k := range s.subscribers {
			others = append(others, (i+1+k)%s.participants)
		}
		if err := m.subscribe(ctx, others); err != nil {
			c.close()
			return nil, fmt.Errorf("participant %d subscribing: %w", i, err)
		}
	}
	return c, nil
}

// connect makes a connection whose tracks are heard by a participant.
func (c *crowd) connect(index int) (*webrtc.PeerConnection, error) {
	pc, err := c.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.conns = append(c.conns, pc)
	c.mu.Unlock()
	pc.OnTrack(func(t *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { c.audiences[index].hear(t) })
	return pc, nil
}

// send adds a participant's tracks to a connection.
func (c *crowd) send(pc *webrtc.PeerConnection, p *publisher) error {
	for _, t := range p.tracks {
		sender, err := pc.AddTrack(t)
		if err != nil {
			return err
		}
		c.wg.Go(func() { p.listen(sender) })
	}
	return nil
}

// settle returns when every track has reached everybody who is to have it, and
// a moment more has gone by.
func (c *crowd) settle(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(30 * time.Second); ; {
		missing := 0
		for i := range c.publishers {
			missing += kinds*c.subscribers - c.audiences[i].size()
		}
		if missing == 0 {
			break
		}
		if time.Now().After(until) {
			return fmt.Errorf("%d of %d tracks have not come", missing, c.settings.tracks())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(5 * time.Second):
	}
	return nil
}

func (a *audience) size() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.tracks)
}

// begin and end mark what is counted.
func (c *crowd) begin() {
	for i, p := range c.publishers {
		c.from = append(c.from, p.counts())
		c.audiences[i].forget()
	}
}

func (c *crowd) end() {
	for _, p := range c.publishers {
		c.to = append(c.to, p.counts())
	}
}

// forget keeps nothing of how long packets took before.
func (a *audience) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, h := range a.tracks {
		h.mu.Lock()
		h.delays = h.delays[:0]
		h.mu.Unlock()
	}
}

// result counts what has come of what was sent between begin and end.
func (c *crowd) result() result {
	var r result
	var delays []time.Duration
	for _, a := range c.audiences {
		for of, h := range a.tracks {
			h.mu.Lock()
			for n := c.from[of[0]][of[1]]; n < c.to[of[0]][of[1]]; n++ {
				r.sent++
				if h.seen[n] {
					r.came++
				}
			}
			delays = append(delays, h.delays...)
			h.mu.Unlock()
		}
	}
	slices.Sort(delays)
	if len(delays) > 0 {
		r.median, r.latest = delays[len(delays)/2], delays[len(delays)*99/100]
	}
	return r
}

func (c *crowd) close() {
	c.stop()
	c.mu.Lock()
	conns := c.conns
	c.mu.Unlock()
	for _, pc := range conns {
		_ = pc.GracefulClose() // the room is over
	}
	c.wg.Wait()
}
