// Package peer makes peer connections: it is the one place that configures pion.
// It turns what arrives at one into signaling events, and sends what is published.
//
// A Factory belongs to a room and holds what its connections share: the codecs,
// a UDP socket for each local address, and one clock that sends reports. A Conn
// is one peer connection.
//
// # Why receiving does not use pion's tracks
//
// What a recorder pays for is mostly goroutines waking each other (DESIGN.md,
// "What receiving costs"). So packets are taken where SRTP's goroutine has just
// decrypted them, through SettingEngine.BufferFactory, and no TrackRemote is
// read. That goes past pion's interceptors too; the feedback a sender needs
// (receiver reports, transport-wide congestion control, REMB, NACK, PLI) is
// written here, and retransmissions (RFC 4588) are unwrapped here. Which source
// belongs to which m-line is worked out from the descriptions and the packets
// (RFC 8843 §9.2), so that a source that nobody announced is recorded too.
package peer

import (
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/pion/transport/v4"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/message"
)

// Limits on what one connection may make us hold. A peer is a stranger.
const (
	// MaxDescription is the largest SDP in bytes that is read.
	MaxDescription = 256 << 10
	// MaxSections is how many m-lines a description may have.
	MaxSections = 64
	// MaxCandidates is how many remote candidates a connection takes with each
	// remote description, those that wait for it included.
	MaxCandidates = 256
	// MaxTracks is how many tracks a connection may have at a time. Packets of
	// more are dropped.
	MaxTracks = 32
	// MaxSources is how many SSRCs a connection may send in its life; with
	// more, it fails.
	MaxSources = 512
	// MaxEarlyPackets is how many packets of a source are kept until a
	// description says what they are.
	MaxEarlyPackets = 256
	// MaxChannels is how many data channels a connection may have at a time,
	// ours included. One that the peer opens beyond is closed.
	MaxChannels = 16
	// MaxOpened is how many data channels the peer may open in a connection's
	// life; with more, it fails.
	MaxOpened = 4096
	// MaxReopened is how often our data channel is opened again when the peer
	// has closed it.
	MaxReopened = 16
	// MaxMessage is the largest data channel message in bytes that is taken.
	MaxMessage = 256 << 10
	// maxUnsent is how many messages wait for their data channel to open.
	maxUnsent = 16
	// MessageRate and MessageBytes are how many messages and bytes a second of a
	// connection are taken in the long run, and MessageBurst and BytesBurst at
	// once. Who sends more is slowed down, and nothing is lost.
	MessageRate  = 500
	MessageBytes = 512 << 10
	MessageBurst = 2000
	BytesBurst   = 4 << 20
	// maxBuffered is how many bytes of ours may wait for a peer that does not
	// read.
	maxBuffered = 1 << 20
	// maxNacks is how many sequence numbers of a track wait to be asked for.
	maxNacks = 1024
	// replayWindow is how many packets late a packet may come and still be
	// taken by SRTP: a retransmission without RTX (RFC 4588) bears its old
	// number and comes seconds later.
	replayWindow = 8192
)

// How long things take.
const (
	// reportEvery is how often a connection looks at what it has to report.
	// Transport-wide feedback goes out each time: a sender's bandwidth
	// estimate starves on less.
	reportEvery = 100 * time.Millisecond
	// receiverReportEvery is RFC 4585's interval for a connection of this
	// bandwidth, generously.
	receiverReportEvery = time.Second
	// keyframeRetry and keyframeTries repeat a keyframe request until the
	// track's first packet comes.
	keyframeRetry = 500 * time.Millisecond
	keyframeTries = 10
	// reopenAfter is when a data channel that the peer has closed is opened
	// again.
	reopenAfter = time.Second
	// handshakeRetry is when a part of the DTLS handshake is sent again for the
	// first time; then the wait doubles. With pion's second, a bad network keeps
	// a connection from being made; browsers wait for less.
	handshakeRetry = 200 * time.Millisecond
	// gatherWait is how long a description waits for local candidates. Host
	// candidates come within a millisecond and are then in the description,
	// which helps peers that lose early candidates.
	gatherWait = 50 * time.Millisecond
	// closeWait bounds Close.
	closeWait = time.Second

	// ICE's checks cost more than the reports do; these are common intervals.
	disconnectedAfter = 5 * time.Second
	failedAfter       = 25 * time.Second
	keepAlive         = 2 * time.Second
	// maxChecks is how often a way is tried, five times a second: as long as ICE
	// does not give up. The network may come back at any moment.
	maxChecks = 200
)

// Errors that the methods of Conn and Factory wrap.
var (
	// ErrClosed: the connection or factory has been closed.
	ErrClosed = errors.New("peer: closed")
	// ErrDescription: the peer's SDP can't be used.
	ErrDescription = errors.New("peer: bad session description")
	// ErrCandidate: the peer's ICE candidate can't be used.
	ErrCandidate = errors.New("peer: bad ICE candidate")
	// ErrPending: our offer waits for its answer, and nothing else is possible
	// before that.
	ErrPending = errors.New("peer: an offer waits for its answer")
	// ErrLimit: the peer asked for more than one of the limits above.
	ErrLimit = errors.New("peer: limit exceeded")
	// ErrChannel: there is no data channel with that label.
	ErrChannel = errors.New("peer: no such data channel")
)

// Config says how a room's connections are made. The zero Config is usable.
type Config struct {
	// Codecs is what is offered, in order of preference. Nil means VP8, VP9
	// and Opus; Opus is added when no audio codec is listed.
	Codecs []media.Codec
	// Only leaves out the other kind of media: its m-lines are not offered,
	// and rejected in answers. KindUnknown means both.
	Only media.Kind
	// Publish is sent to every peer; nil: nothing is. It must be made of codecs
	// that are offered. SendOnly receives nothing from anybody.
	Publish  *Publication
	SendOnly bool
	// Forwarding is for one side of a connection with a server that forwards: no
	// m-lines are offered to receive on, since tracks come with offers of the
	// server's, and each codec has one format only.
	Forwarding bool
	// Prompt reads sockets more often than recording needs, at some more CPU, for
	// who passes on what comes.
	Prompt bool
	// ICEServers are the STUN and TURN servers to use; none by default.
	ICEServers []ICEServer
	// RelayOnly uses candidates from TURN servers and no others.
	RelayOnly bool
	// Loopback also offers loopback addresses.
	Loopback bool
	// Net replaces the network, in tests; nil means the real one.
	Net transport.Net
	// OnAddresses is told when the machine's addresses have changed, which those
	// are that a peer might reach us at now, by a goroutine that it must not
	// hold up. May be nil.
	OnAddresses func(now []netip.Addr)
	// OnRelayFailure is told why a TURN server can't be used, once for each,
	// and ErrNoRelay, once, when RelayOnly is set and none can. It is told by
	// a goroutine of pion's that it must not hold up. May be nil.
	OnRelayFailure func(error)
	// Logger gets what pion says, at debug level. Nil discards it.
	Logger *slog.Logger
}

// Options are what is particular to one connection.
type Options struct {
	// Participant and Connection are copied to the tracks.
	Participant string
	Connection  int
	// Sink gets TrackStarted, PacketArrived, Reported and TrackEnded. It is
	// called by several goroutines, one at a time, with the connection's lock
	// held: it must neither block nor call the connection. The events' packets
	// are the sink's. After Close has returned it is not called.
	Sink func(signaling.Event)
	// Behind tells for how long, at a time, events that went to Sink have waited
	// unread. While they do, the connection asks by itself for packets that are
	// lost, since whoever should ask does not know. It is called with the
	// connection's lock held. Nil: never.
	Behind func(now time.Time) time.Duration
	// OnCandidate gets our candidates, from when Offer or Answer is about to
	// return. The end of candidates is not told. May be nil.
	OnCandidate func(message.Candidate)
	// OnState gets each change of state, in order, from a goroutine that holds
	// no lock. May be nil.
	OnState func(State)
	// OnStranded is told, after Config.OnAddresses, when the connection has
	// worked, but can't by the address that it went by, or may do so again by
	// another: ICE must be restarted. It must not block. May be nil.
	OnStranded func()
	// OnMessage gets the messages of the peer's data channels, those of one
	// channel in their order, and owns them. It may block, which slows the peer
	// down, but not once stop is closed. May be nil.
	OnMessage func(m Message, stop <-chan struct{})
}

// Message is what came over a data channel.
type Message struct {
	Label string
	// Text tells a string from binary data.
	Text bool
	Data []byte
	// Reply sends a text back by the same channel. It does not block; what the
	// channel does not take is lost.
	Reply func(text []byte)
}

// State is how a connection is.
type State uint8

// The states of a connection.
const (
	// New: no description has been exchanged.
	New State = iota
	// Connecting: ICE or DTLS is at work.
	Connecting
	// Connected: media flows, or may.
	Connected
	// Disconnected: nothing has come for 5 s. It may come back
	// by itself.
	Disconnected
	// Failed: it has not come back, or the peer broke a limit. An offer by
	// either side may restart ICE; else a new connection is needed.
	Failed
	// Closed: Close was called, or the peer has closed.
	Closed
)

var stateNames = [...]string{"new", "connecting", "connected", "disconnected", "failed", "closed"}

// String gives the state's name, such as "connected".
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "unknown"
}
