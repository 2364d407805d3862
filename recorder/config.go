package recorder

import (
	"fmt"
	"io"
	"log/slog"
	"path"
	"strings"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
)

// What a Config's zero values stand for.
const (
	DefaultChunk       = time.Second
	DefaultMaxWaitLoss = 3 * time.Second
	DefaultHeaderWait  = time.Second
	DefaultName        = "{participant}"
)

// ManifestName is the name of the manifest in the session's Store.
const ManifestName = "manifest.json"

// Fsync tells when a file's bytes are made to survive a power cut.
type Fsync uint8

// The fsync policies: after each chunk, once when a file is complete, or never.
const (
	FsyncChunk Fsync = iota
	FsyncClose
	FsyncNever
)

var fsyncNames = [...]string{"chunk", "close", "never"}

// String gives the policy as the command line spells it.
func (f Fsync) String() string {
	if int(f) < len(fsyncNames) {
		return fsyncNames[f]
	}
	return "unknown"
}

// ParseFsync reads a policy as String gives it.
func ParseFsync(name string) (Fsync, error) {
	for i, n := range fsyncNames {
		if n == name {
			return Fsync(i), nil
		}
	}
	return 0, fmt.Errorf("recorder: fsync policy %q is none of %s", name, strings.Join(fsyncNames[:], ", "))
}

// MuxerOptions is what a recording knows of itself when its Muxer is made. All
// of it is a function of the session's input.
type MuxerOptions struct {
	// Chunk is Config.Chunk: no chunk may be longer.
	Chunk time.Duration
	// Ext is the file's ending with its dot, as Config.Ext chose it.
	Ext string
	// UID seeds the file's and the tracks' identifiers; no two recordings of
	// a session have the same.
	UID string
	// Date is when the recording's first frame was presented.
	Date time.Time
	// Recorder is Config.Recorder.
	Recorder string
	// Title is the participant's id: untrusted.
	Title string
}

// Config is what a Session must know. Store, NewMuxer and Ext are required.
type Config struct {
	// Room and URL name the room in the manifest; the caller leaves secrets
	// out of URL. Recorder is the name and version of the program.
	Room, URL, Recorder string

	// Store is the session's folder. The session writes recordings and the
	// manifest into it, and nothing else writes there under the same names.
	Store output.Store
	// NewMuxer makes the muxer of one recording on w, which also is an
	// io.WriterAt when the Store's file is one.
	NewMuxer func(w io.Writer, o MuxerOptions) (output.Muxer, error)
	// Ext chooses the ending (with its dot) of a file whose tracks have these
	// codecs. Tracks that come later may have others.
	Ext func([]media.Codec) string
	// Name is the template of a file's name, for output.Expand, with
	// {participant}, {stream}, {start}, {n} and what NameVars has. "" is
	// DefaultName.
	Name     string
	NameVars map[string]string
	// Dump, when not nil, tells in which file, beside the recordings, what
	// arrives is kept, and the error that has ended that.
	Dump func() (path string, err error)

	// Messages, when not nil, is where what participants say over data channels
	// is kept, in a file named MessagesName ("": the constant) with MessagesExt.
	Messages     output.Store
	MessagesName string
	// AllowControl lets participants pause, resume, mark and stop the recording
	// by messages.
	AllowControl bool
	// OnState, when not nil, is told on the goroutine of Run when they have:
	// StatePaused or StateStarted.
	OnState func(state string)
	// Stats, when not nil, tells in which file, beside the recordings, the caller
	// keeps what OnStatus tells; "": none yet.
	Stats func() string

	// NoManifest leaves the manifest to Session.Manifest: the Store's folder is
	// not the session's own.
	NoManifest bool

	// Only restricts the recording to one kind of media; KindUnknown: both.
	Only media.Kind
	// Participants is a glob of ids to record, with the syntax of path.Match
	// but without a special meaning for the slash. "": everybody.
	Participants string

	// Start is when the session began; it is the zero of every time in the
	// manifest. When it is zero, or later than the first event, that event's
	// time is taken: right for a dump, but in a live room Wait and Duration
	// would count from there.
	Start time.Time
	// Chunk is how much media a crash may cost: what has arrived and can be
	// decoded is written at most this long after. 0 is DefaultChunk.
	Chunk time.Duration
	// MaxWaitLoss is how long a missing packet is waited for while it can
	// still be sent again. 0 is DefaultMaxWaitLoss, less is no wait at all.
	MaxWaitLoss time.Duration
	// HeaderWait is how long a file that can't grow a track later (a pipe)
	// waits for the first frames of the tracks that are there already. 0 is
	// DefaultHeaderWait, less is no wait at all.
	HeaderWait time.Duration
	// Fsync tells when what was written is made to survive a power cut.
	Fsync Fsync
	// NewFileOnChange starts a new file when the size of a video changes
	// mid-stream. A change of codec always does.
	NewFileOnChange bool

	// RotateEvery begins a new file when one is this long, and RotateSize when
	// one has this many bytes: at a video keyframe, which is asked for shortly
	// before, and where there is no picture at the next frame. 0: never.
	RotateEvery time.Duration
	RotateSize  int64

	// Space, when not nil, tells how much room is left where Store keeps its
	// files. When less than DiskReserve bytes are free, log and manifest say so
	// once. When less than DiskFloor are, or than what completing the files may
	// take if that is more, the session ends with ErrStorage and every file
	// complete. 0: never.
	Space                  func() (output.Space, error)
	DiskReserve, DiskFloor int64

	// Wait ends the session when no packet came in this time. 0: never.
	Wait time.Duration
	// UntilEmpty ends the session when nobody we record has been there for
	// this long, after there was somebody; who has never had a track (such as
	// another recorder) is nobody. 0: never.
	UntilEmpty time.Duration
	// Duration ends the session this long after it began. 0: never.
	Duration time.Duration

	// Logger gets a line when something changes. Nil: nothing is logged.
	Logger *slog.Logger
	// OnStatus, when not nil, is called with a fresh snapshot on the
	// goroutine of Run, once per StatusInterval of event time and at the end.
	OnStatus func(Status)
}

// withDefaults checks c and fills in what is left out.
func (c Config) withDefaults() (Config, error) {
	if c.Store == nil || c.NewMuxer == nil || c.Ext == nil {
		return c, fmt.Errorf("recorder: Config needs Store, NewMuxer and Ext")
	}
	if c.Chunk < 0 {
		return c, fmt.Errorf("recorder: chunk of %v is less than nothing", c.Chunk)
	}
	if c.RotateEvery < 0 || c.RotateSize < 0 {
		return c, fmt.Errorf("recorder: a new file every %v or %d bytes: less than nothing", c.RotateEvery, c.RotateSize)
	}
	if c.Name == "" {
		c.Name = DefaultName
	}
	c.Chunk = orDefault(c.Chunk, DefaultChunk)
	c.MaxWaitLoss = orDefault(c.MaxWaitLoss, DefaultMaxWaitLoss)
	c.HeaderWait = orDefault(c.HeaderWait, DefaultHeaderWait)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if _, err := matchID(c.Participants, ""); err != nil {
		return c, fmt.Errorf("recorder: pattern %q for participants: %w", c.Participants, err)
	}
	return c, nil
}

// orDefault gives d when v is zero, and no time at all when it is negative.
func orDefault(v, d time.Duration) time.Duration {
	if v == 0 {
		return d
	}
	return max(v, 0)
}

// matchID tells whether a participant's id matches the glob. A slash in an id is
// a character like any other.
func matchID(glob, id string) (bool, error) {
	if glob == "" {
		return true, nil
	}
	flat := strings.NewReplacer("/", "\x00")
	return path.Match(flat.Replace(glob), flat.Replace(id))
}
