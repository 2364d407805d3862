package peer

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/message"
)

// Conn is one peer connection: with a peer that sends, and who is sent the
// factory's Publication if it has one. Its methods may be called by any
// goroutine.
type Conn struct {
	factory *Factory
	opts    Options
	pc      *webrtc.PeerConnection
	api     *webrtc.API
	feed    *feed                   // nil: nothing is published
	outlets atomic.Pointer[outlets] // nil: nothing is forwarded

	negotiating sync.Mutex   // held by Offer, Answer, Accept
	setup       string       // who we are in DTLS (RFC 8842 §5.3): active or passive; guarded by negotiating
	roundTrip   atomic.Int64 // nanoseconds
	way         atomic.Pointer[way]
	relays      atomic.Int32 // relay candidates gathered
	tasks       sync.WaitGroup
	closing     sync.Once

	mu         sync.Mutex
	closed     bool
	flushing   bool // a goroutine sends feedback
	again      bool // it is to look again
	gathering  bool // requests wait for company
	up         bool // media can flow
	state      State
	states     []State // to be told to OnState
	telling    bool    // a goroutine does it
	remote     identity
	ufrags     []string // of the peer's ICE candidates, by its description
	ufrag      string   // of ours
	described  bool     // the remote description is set
	pending    bool     // another one is to come, which begins ICE anew
	trickling  bool     // our candidates may be told
	candidates []message.Candidate
	held       []message.Candidate // ours, until trickling
	accepted   int                 // remote candidates taken since the last description

	sections []*section
	sources  map[uint32]*source
	tracks   []*track  // in the order they were made
	latest   time.Time // of the events told
	dropped  uint64    // packets that belong to nothing

	feedback *twcc.Recorder
	epoch    time.Time
	lastRR   time.Time
	lastREMB time.Time

	channels []*channel // live, in the order of their making
	opened   int        // data channels by the peer so far
	reopened int        // how often ours was opened again
	refused  bool       // a data channel was one too many
	pace     pace
	stop     chan struct{} // closed by Close
}

func newConn(f *Factory, o Options) *Conn {
	now := time.Now()
	return &Conn{
		factory: f, opts: o,
		sources:  map[uint32]*source{},
		stop:     make(chan struct{}),
		feedback: twcc.NewRecorder(reporter),
		epoch:    now, lastRR: now, lastREMB: now,
	}
}

// watch subscribes to what pion tells.
func (c *Conn) watch() {
	c.pc.OnConnectionStateChange(func(webrtc.PeerConnectionState) { c.update() })
	c.pc.OnICECandidate(c.trickle)
	c.pc.OnDataChannel(c.accepts)
}

// update looks at the connection's state. Pion tells of each change in a
// goroutine of its own, in any order, so what it tells is not what counts.
func (c *Conn) update() {
	state := Connecting
	switch c.pc.ConnectionState() {
	case webrtc.PeerConnectionStateNew:
		state = New
	case webrtc.PeerConnectionStateConnected:
		state = Connected
	case webrtc.PeerConnectionStateDisconnected:
		state = Disconnected
	case webrtc.PeerConnectionStateFailed:
		state = Failed
	case webrtc.PeerConnectionStateClosed:
		state = Closed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.enter(state)
	if state == Closed && !c.closed { // the peer has said goodbye
		go func() { _ = c.Close() }()
	}
}

// enter is called locked.
func (c *Conn) enter(state State) {
	if c.state == state || c.state == Closed || c.closed && state != Closed {
		return
	}
	c.state = state
	if state == Connected && !c.up {
		c.up = true
		now := time.Now()
		for _, t := range c.tracks {
			c.start(t, now)
		}
		if c.feed != nil {
			c.feed.pub.begin(c.feed)
		}
		if out := c.outlets.Load(); out != nil {
			out.open()
		}
		c.kick()
	}
	if c.opts.OnState == nil {
		return
	}
	c.states = append(c.states, state)
	if !c.telling {
		c.telling = true
		c.tasks.Go(c.tell)
	}
}

func (c *Conn) tell() {
	for {
		c.mu.Lock()
		if len(c.states) == 0 {
			c.telling = false
			c.mu.Unlock()
			return
		}
		state := c.states[0]
		c.states = c.states[1:]
		c.mu.Unlock()
		c.opts.OnState(state)
	}
}

// State gives the connection's state.
func (c *Conn) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Offer makes an offer: to receive one audio and two video tracks, to send what is
// published, and a data channel "messages". When descriptions have been exchanged
// before, it is an offer to restart ICE: what way there was is gone then, nothing
// comes before Accept has taken the answer, and there is no going back. So before
// it has, another Offer gives an error that wraps ErrPending.
func (c *Conn) Offer() (message.Description, error) {
	c.negotiating.Lock()
	defer c.negotiating.Unlock()
	var restart *webrtc.OfferOptions
	if c.pc.RemoteDescription() != nil {
		if c.pc.SignalingState() != webrtc.SignalingStateStable {
			return message.Description{}, c.or(ErrPending)
		}
		restart = &webrtc.OfferOptions{ICERestart: true}
		c.renew()
		c.expect()
	} else if c.pc.LocalDescription() == nil {
		if err := c.prepare(); err != nil {
			return message.Description{}, fmt.Errorf("peer: preparing an offer: %w", err)
		}
	}
	offer, err := c.pc.CreateOffer(restart)
	if err != nil {
		return message.Description{}, fmt.Errorf("peer: making an offer: %w", c.or(err))
	}
	return c.publish(offer)
}

// renew makes new credentials for TURN servers; ICE is about to be restarted,
// perhaps long after the connection was made.
func (c *Conn) renew() {
	var cfg webrtc.Configuration
	c.factory.relaysOf(&cfg)
	if err := c.pc.SetConfiguration(cfg); err != nil {
		c.factory.log.Debug("renewing TURN credentials", "error", err)
	}
}

// prepare says what is to be offered.
func (c *Conn) prepare() error {
	if err := c.publishes(); err != nil {
		return err
	}
	cfg := &c.factory.cfg
	recvonly := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}
	for i, kind := range []media.Kind{media.Audio, media.Video, media.Video} {
		if cfg.SendOnly || cfg.Forwarding || cfg.Only != media.KindUnknown && kind != cfg.Only {
			continue
		}
		if c.feed != nil && i < 2 && cfg.Publish.codec(kind) != media.CodecUnknown {
			continue // it goes both ways
		}
		if _, err := c.pc.AddTransceiverFromKind(pionKind(kind), recvonly); err != nil {
			return err
		}
	}
	return c.open(Messages)
}

// publishes adds the tracks that are published, once.
func (c *Conn) publishes() error {
	if c.feed == nil || len(c.pc.GetSenders()) > 0 {
		return nil
	}
	direction := webrtc.RTPTransceiverDirectionSendrecv
	if c.factory.cfg.SendOnly {
		direction = webrtc.RTPTransceiverDirectionSendonly
	}
	for _, o := range c.feed.tracks() {
		if _, err := c.pc.AddTransceiverFromTrack(o, webrtc.RTPTransceiverInit{Direction: direction}); err != nil {
			return fmt.Errorf("adding the %v track: %w", o.kind, err)
		}
	}
	return nil
}

// Answer answers an offer: media is received, whatever of it can be, and data
// channels are accepted. An offer for which Continues holds keeps all tracks
// whose sources stay. While an offer of our own waits for its answer, the error
// wraps ErrPending.
func (c *Conn) Answer(offer message.Description) (message.Description, error) {
	c.negotiating.Lock()
	defer c.negotiating.Unlock()
	if c.pc.SignalingState() != webrtc.SignalingStateStable {
		return message.Description{}, c.or(ErrPending)
	}
	if err := c.publishes(); err != nil {
		return message.Description{}, fmt.Errorf("peer: preparing an answer: %w", err)
	}
	if c.pc.RemoteDescription() != nil {
		c.renew()
		c.expect()
	}
	d, err := c.set(offer, webrtc.SDPTypeOffer)
	if err != nil {
		c.mu.Lock()
		c.pending = false
		c.mu.Unlock()
		c.resume()
		return message.Description{}, err
	}
	if slices.ContainsFunc(d.MediaDescriptions, func(m *sdp.MediaDescription) bool {
		return m.MediaName.Media == "application" && m.MediaName.Port.Value != 0
	}) {
		if err := c.open(Messages); err != nil {
			return message.Description{}, fmt.Errorf("peer: opening a data channel: %w", err)
		}
	}
	if !c.factory.cfg.Forwarding {
		if err := preferRED(c.pc); err != nil {
			return message.Description{}, fmt.Errorf("peer: ordering the codecs: %w", c.or(err))
		}
	}
	answer, err := c.pc.CreateAnswer(nil)
	if err != nil {
		return message.Description{}, fmt.Errorf("peer: making an answer: %w", c.or(err))
	}
	out, err := c.publish(answer)
	if err != nil {
		return message.Description{}, err
	}
	// Pion answers as it would the first offer, which browsers refuse when the
	// first one was ours.
	if c.setup == "" {
		c.setup = setupOf(out.SDP)
	} else {
		out.SDP = strings.ReplaceAll(out.SDP, "\na=setup:"+setupOf(out.SDP)+"\r", "\na=setup:"+c.setup+"\r")
	}
	return out, c.bind(d)
}

// setupOf gives the role in DTLS that an answer says.
func setupOf(answer string) string {
	_, after, _ := strings.Cut(answer, "\na=setup:")
	role, _, _ := strings.Cut(after, "\n")
	return strings.TrimSuffix(role, "\r")
}

// Accept takes the answer to our offer. The answer to an offer to restart ICE
// is one for which Continues holds; who has made a new connection of the offer
// is not to be reached by this one.
func (c *Conn) Accept(answer message.Description) error {
	c.negotiating.Lock()
	defer c.negotiating.Unlock()
	d, err := c.set(answer, webrtc.SDPTypeAnswer)
	if err != nil {
		return err
	}
	if c.setup == "" {
		c.setup = map[string]string{"active": "passive", "passive": "active"}[setupOf(answer.SDP)]
	}
	return c.bind(d)
}

// set checks and sets a remote description, and gives ICE the candidates that
// waited for it.
func (c *Conn) set(desc message.Description, want webrtc.SDPType) (*sdp.SessionDescription, error) {
	if desc.Type != want.String() {
		return nil, fmt.Errorf("%w: type %.20q, not %q", ErrDescription, desc.Type, want)
	}
	d, err := parse(desc.SDP)
	if err != nil {
		return nil, err
	}
	err = c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: want, SDP: desc.SDP})
	if err != nil {
		if c.or(err) == ErrClosed {
			return nil, ErrClosed
		}
		return nil, fmt.Errorf("%w: %w", ErrDescription, err)
	}
	c.mu.Lock()
	c.remote, c.described, c.pending = identify(d), true, false
	c.ufrags = ufrags(d)
	waiting := c.candidates
	c.candidates, c.accepted = nil, 0
	c.mu.Unlock()
	for _, w := range waiting {
		if u := fragment(w); u != "" && !slices.Contains(c.ufrags, u) {
			continue // of a description that never came
		}
		if err := c.add(w); err != nil {
			c.factory.log.Debug("candidate", "participant", c.opts.Participant, "err", err)
		}
	}
	return d, nil
}

// publish sets a local description and gives it with the candidates that are
// there at once.
func (c *Conn) publish(d webrtc.SessionDescription) (message.Description, error) {
	// Pion's own answer to which fragment is in use must not be asked for by
	// the candidate's callback: GracefulClose waits for that with the lock held.
	if _, after, ok := strings.Cut(d.SDP, "a=ice-ufrag:"); ok {
		ufrag, _, _ := strings.Cut(after, "\r\n")
		c.mu.Lock()
		c.ufrag = ufrag
		c.mu.Unlock()
	}
	gathered := webrtc.GatheringCompletePromise(c.pc)
	if err := c.pc.SetLocalDescription(d); err != nil {
		return message.Description{}, fmt.Errorf("peer: setting the local description: %w", c.or(err))
	}
	t := time.NewTimer(gatherWait)
	select {
	case <-gathered:
	case <-t.C:
	}
	t.Stop()
	local := c.pc.LocalDescription()
	if local == nil {
		return message.Description{}, ErrClosed
	}
	c.resume()
	return message.Description{Type: local.Type.String(), SDP: local.SDP}, nil
}

// or gives ErrClosed when the connection is closed, since err is then some
// consequence of it.
func (c *Conn) or(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	return err
}

// bind learns from the descriptions what the peer sends.
func (c *Conn) bind(remote *sdp.SessionDescription) error {
	desc := c.pc.LocalDescription()
	if desc == nil {
		return ErrClosed
	}
	local := &sdp.SessionDescription{}
	if err := local.UnmarshalString(desc.SDP); err != nil {
		return fmt.Errorf("peer: reading our own description: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	c.apply(sections(local, remote), time.Now())
	return nil
}

// fail gives the connection up because the peer broke a limit. It is called
// locked.
func (c *Conn) fail(why error) {
	if c.closed || c.state == Failed {
		return
	}
	c.factory.log.Warn("giving a peer connection up", "participant", c.opts.Participant, "err", why)
	c.enter(Failed)
	go func() { _ = c.Close() }()
}

// Close ends the connection. All tracks get their TrackEnded; when it returns,
// Sink is not called any more and the connection's goroutines have ended, save
// those that have not within about a second. It may be called more than once.
func (c *Conn) Close() error {
	c.closing.Do(func() {
		c.mu.Lock()
		now := time.Now()
		for len(c.tracks) > 0 {
			c.end(c.tracks[0], now)
		}
		c.closed = true
		close(c.stop)
		c.enter(Closed)
		for _, s := range c.sources {
			s.forget()
		}
		clear(c.sources)
		c.mu.Unlock()
		if c.feed != nil {
			c.feed.close()
		}
		if out := c.outlets.Load(); out != nil {
			out.close()
		}

		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = c.pc.GracefulClose() // its errors are what other goroutines of pion have seen before
			// What a handshake has begun that ended meanwhile has been begun after pion
			// has looked for it.
			_ = c.pc.SCTP().Transport().Stop()
			c.tasks.Wait()
			if c.feed != nil {
				c.feed.wait()
			}
		}()
		t := time.NewTimer(closeWait)
		defer t.Stop()
		select {
		case <-done:
		case <-t.C:
		}
		c.factory.forget(c) // who closes the factory has waited for this, too
	})
	return nil
}

// emit is called locked.
func (c *Conn) emit(e signaling.Event) {
	if c.closed || c.opts.Sink == nil {
		if e.Packet != nil {
			e.Packet.Release()
		}
		return
	}
	// Some are stamped by the kernel and some here: what happened first here
	// must not seem to have happened later.
	if e.Time.Before(c.latest) {
		e.Time = c.latest
		if e.Packet != nil {
			e.Packet.Arrival = e.Time
		}
	}
	c.latest = e.Time
	c.opts.Sink(e)
}

var errSources = fmt.Errorf("%w: more than %d sources", ErrLimit, MaxSources)

var errChannels = fmt.Errorf("%w: more than %d data channels", ErrLimit, MaxOpened)
