package peer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/message"
)

const (
	// MaxOutlets is how many outlets a connection may have at a time.
	MaxOutlets = 128
	// maxForwarded is what a connection is taken to be able to receive at most, in
	// bit/s: a recorder of forty people.
	maxForwarded = 100_000_000
	// firstForwarded is that until its feedback tells otherwise: a small picture.
	firstForwarded = 300_000
	// sustainedFor is how long a congestion without loss must last. Who forwards can't
	// lower a bitrate a little, and another encoding is seen.
	sustainedFor = 300 * time.Millisecond
)

// OutletConfig says what an Outlet sends.
type OutletConfig struct {
	// Codec is that of all packets.
	Codec media.Codec
	// Stream and ID are the MediaStream and track ids that the peer sees: without
	// white space and not empty.
	Stream, ID string
	// OnKeyframe is called when the peer asks for a keyframe. It must not block.
	OnKeyframe func()
}

// OutletPacket is an RTP packet that an Outlet sends. Its payload is kept, and is
// not changed.
type OutletPacket struct {
	Sequence  uint16
	Timestamp uint32
	Marker    bool
	Payload   []byte
	// Capture and Dependency are sent as header extensions where these were
	// negotiated: abs-capture-time and the dependency descriptor; and so is Level, how
	// loud it is (RFC 6464). May be empty. What is sent again has Dependency only, which
	// is kept, and is not changed.
	Capture, Dependency, Level []byte
}

// Outlet is a track to a peer whose packets are made elsewhere: that of somebody
// else, which is forwarded. It answers NACKs from what it has sent, by RTX (RFC
// 4588) if that was negotiated. Its methods may be called by any goroutine, but
// Send and Report by one at a time.
type Outlet struct {
	conn        *Conn
	cfg         OutletConfig
	transceiver *webrtc.RTPTransceiver
	sender      *webrtc.RTPSender

	mu sync.Mutex
	flow
	stats OutletStats
}

// OutletStats is what was sent by an Outlet, and what the peer says of it.
type OutletStats struct {
	// Packets and Bytes, of payload, were sent for the first time;
	// Retransmitted packets again.
	Packets, Bytes, Retransmitted uint64
	// Nacks are the messages by which the peer asked for packets again, and
	// Keyframes those by which it asked for a keyframe.
	Nacks, Keyframes uint64
	// Loss is the share of packets, from 0 to 1, that its latest report says were
	// lost before anything was sent again.
	Loss float64
}

// Add sums up what can be: all but Loss.
func (s *OutletStats) Add(o OutletStats) {
	s.Packets += o.Packets
	s.Bytes += o.Bytes
	s.Retransmitted += o.Retransmitted
	s.Nacks += o.Nacks
	s.Keyframes += o.Keyframes
}

// Stats tells what was sent so far, also of an outlet that is closed.
func (o *Outlet) Stats() OutletStats {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stats
}

// wire is a header on its way, with room for the extensions that we send.
type wire struct {
	header     rtp.Header
	extensions [3]rtp.Extension
}

var headers = sync.Pool{New: func() any { return new(wire) }}

// outlets are those of one connection.
type outlets struct {
	estimate *estimator
	repeats  repeats
	opened   atomic.Bool // the connection is up, or was

	mu   sync.Mutex
	all  []*Outlet
	free []*webrtc.RTPTransceiver // m-lines whose outlet was closed
}

// AddOutlet adds a track to what is sent to the peer. It begins once Renegotiate
// or an answer has told the peer.
func (c *Conn) AddOutlet(cfg OutletConfig) (*Outlet, error) {
	c.negotiating.Lock()
	defer c.negotiating.Unlock()
	out, err := c.forwards()
	if err != nil {
		return nil, err
	}
	o := &Outlet{conn: c, cfg: cfg, flow: flow{rtxSequence: uint16(rand.IntN(1 << 15))}}
	out.mu.Lock()
	defer out.mu.Unlock()
	if len(out.all) >= MaxOutlets {
		return nil, fmt.Errorf("%w: more than %d outlets", ErrLimit, MaxOutlets)
	}
	// A description can't lose m-lines, so those that are free are used again.
	if i := slices.IndexFunc(out.free, func(t *webrtc.RTPTransceiver) bool { return t.Kind() == o.Kind() }); i >= 0 {
		t := out.free[i]
		sender, err := c.api.NewRTPSender(o, c.pc.SCTP().Transport())
		if err != nil {
			return nil, fmt.Errorf("peer: adding an outlet: %w", c.or(err))
		}
		if err := t.SetSender(sender, o); err != nil {
			return nil, fmt.Errorf("peer: adding an outlet: %w", c.or(err))
		}
		out.free = slices.Delete(out.free, i, i+1)
		o.transceiver, o.sender = t, sender
	} else {
		t, err := c.pc.AddTransceiverFromTrack(o, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		if err != nil {
			return nil, fmt.Errorf("peer: adding an outlet: %w", c.or(err))
		}
		o.transceiver, o.sender = t, t.Sender()
	}
	out.all = append(out.all, o)
	return o, nil
}

// forwards gives the connection's outlets, which it makes when there are none.
func (c *Conn) forwards() (*outlets, error) {
	if out := c.outlets.Load(); out != nil {
		return out, nil
	}
	out := newOutlets()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	out.opened.Store(c.up)
	c.outlets.Store(out)
	return out, nil
}

func newOutlets() *outlets {
	out := &outlets{estimate: newEstimator(firstForwarded, maxForwarded), repeats: repeats{stop: make(chan struct{})}}
	out.estimate.send, out.estimate.sustained = out.probe, sustainedFor
	return out
}

// close ends what outlets have running. The connection is closed.
func (out *outlets) close() { out.repeats.close() }

// Receivable is how much the peer can receive by outlets, in bit/s, as
// estimated, beside what is sent again.
func (c *Conn) Receivable() int {
	if out := c.outlets.Load(); out != nil {
		bitrate := out.estimate.bitrate()
		return max(bitrate-out.repeats.bitrate(time.Now()), bitrate/2)
	}
	return firstForwarded
}

// Want tells how much could be sent by outlets, in bit/s: more is not tried for.
func (c *Conn) Want(bitrate int) {
	if out := c.outlets.Load(); out != nil {
		out.estimate.want(bitrate)
	}
}

// Climbing tells whether it will soon be known if the peer can receive more, as far
// as that is wanted.
func (c *Conn) Climbing() bool {
	out := c.outlets.Load()
	return out != nil && out.estimate.climbing(time.Now())
}

// Loss is the share of packets, from 0 to 1, of the video track that loses most of
// what is sent by outlets, smoothed, by the peer's latest reports.
func (c *Conn) Loss() float64 {
	if out := c.outlets.Load(); out != nil {
		return out.estimate.loss(time.Now())
	}
	return 0
}

// Renegotiate offers what has changed: outlets that were added and closed. ICE
// goes on as it is. While an offer of ours waits for its answer, the error wraps
// ErrPending.
func (c *Conn) Renegotiate() (message.Description, error) {
	c.negotiating.Lock()
	defer c.negotiating.Unlock()
	if c.pc.SignalingState() != webrtc.SignalingStateStable {
		return message.Description{}, c.or(ErrPending)
	}
	if c.pc.LocalDescription() == nil {
		if err := c.prepare(); err != nil {
			return message.Description{}, fmt.Errorf("peer: preparing an offer: %w", err)
		}
	}
	offer, err := c.pc.CreateOffer(nil)
	if err != nil {
		return message.Description{}, fmt.Errorf("peer: making an offer: %w", c.or(err))
	}
	return c.publish(offer)
}

// MID is the m-line (RFC 8843 §8) that carries the outlet: "" before the first
// description that has it.
func (o *Outlet) MID() string { return o.transceiver.Mid() }

// Close ends the outlet. The peer learns of it with the next description.
func (o *Outlet) Close() error {
	c := o.conn
	c.negotiating.Lock()
	defer c.negotiating.Unlock()
	out := c.outlets.Load()
	out.mu.Lock()
	defer out.mu.Unlock()
	i := slices.Index(out.all, o)
	if i < 0 {
		return nil
	}
	out.all = slices.Delete(out.all, i, i+1)
	if err := c.pc.RemoveTrack(o.sender); err != nil {
		return fmt.Errorf("peer: closing an outlet: %w", c.or(err))
	}
	o.mu.Lock()
	ssrc, rtx := o.ssrc, o.rtx
	o.ssrc, o.history = 0, history{}
	o.mu.Unlock()
	out.estimate.remove(ssrc, rtx)
	out.free = append(out.free, o.transceiver)
	return nil
}

// Bind implements webrtc.TrackLocal: the descriptions are exchanged.
func (o *Outlet) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	params, err := o.bind(c, o.cfg.Codec, o.conn.outlets.Load().estimate)
	if err == nil && o.conn.outlets.Load().opened.Load() {
		o.begin()
	}
	return params, err
}

// begin has a picture begin with a keyframe.
func (o *Outlet) begin() {
	if o.cfg.OnKeyframe != nil && o.cfg.Codec.Kind() == media.Video {
		go o.cfg.OnKeyframe()
	}
}

// open is called when the connection has come up: what is bound can begin.
func (out *outlets) open() {
	if out.opened.Swap(true) {
		return
	}
	go func() {
		out.mu.Lock()
		all := slices.Clone(out.all)
		out.mu.Unlock()
		for _, o := range all {
			if o.Ready() {
				o.begin()
			}
		}
	}()
}

// Unbind implements webrtc.TrackLocal.
func (o *Outlet) Unbind(webrtc.TrackLocalContext) error { return nil }

// ID implements webrtc.TrackLocal.
func (o *Outlet) ID() string { return o.cfg.ID }

// RID implements webrtc.TrackLocal.
func (o *Outlet) RID() string { return "" }

// StreamID implements webrtc.TrackLocal.
func (o *Outlet) StreamID() string { return o.cfg.Stream }

// Kind implements webrtc.TrackLocal.
func (o *Outlet) Kind() webrtc.RTPCodecType { return pionKind(o.cfg.Codec.Kind()) }

// Ready tells whether packets are sent yet: the peer has been told of the outlet, and
// there is a way to it.
func (o *Outlet) Ready() bool {
	if out := o.conn.outlets.Load(); !out.opened.Load() {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ssrc != 0
}

// Send sends a packet. Before the peer knows of the outlet, and when there is no
// way to the peer, it is dropped.
func (o *Outlet) Send(p OutletPacket) {
	o.mu.Lock()
	if o.ssrc == 0 {
		o.mu.Unlock()
		return
	}
	w := headers.Get().(*wire)
	defer headers.Put(w)
	h := &w.header
	*h = o.packet(p.Sequence, p.Timestamp, p.Marker, p.Payload, p.Dependency)
	h.Extensions = w.extensions[:0]
	capture, depend, level := o.captureID, o.dependID, o.levelID
	o.stats.Packets++
	o.stats.Bytes += uint64(len(p.Payload))
	o.mu.Unlock()
	// A structure needs the two-byte form, which the first extension decides.
	if depend != 0 && len(p.Dependency) > 0 {
		_ = h.SetExtension(depend, p.Dependency) // what does not fit is left out
	}
	if capture != 0 && len(p.Capture) > 0 {
		_ = h.SetExtension(capture, p.Capture)
	}
	if level != 0 && len(p.Level) > 0 {
		_ = h.SetExtension(level, p.Level)
	}
	_ = o.conn.outlets.Load().estimate.write(h, p.Payload) // a connection that is down tells so elsewhere
}

// Report tells the peer what the sender says of its clocks (RFC 3550 §6.4.1):
// that this timestamp of the outlet's was the instant ntp.
func (o *Outlet) Report(ntp uint64, timestamp uint32) {
	o.mu.Lock()
	r := o.report(ntp, timestamp)
	o.mu.Unlock()
	if r != nil {
		_ = o.conn.pc.WriteRTCP([]rtcp.Packet{r}) // the next one says the same
	}
}
