package marked

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/recorder"
)

// Grace is what nobody can be blamed for at the end of a connection: what is
// lost of it can't be sent again once the sender has gone.
const Grace = time.Second

// Tally is what became of the frames of one kind.
type Tally struct {
	// Sent is how many were sent, Recorded how many of them are in a file.
	Sent, Recorded int
	// Before is how many came before the first one of their connection that is
	// in a file: the recorder was not there yet, or knows of nothing before the
	// first packet it got. After is how many, not in a file, were sent in the
	// last second of their connection, or when the participant was recorded on
	// a newer one already. Unheard is how many were sent on connections of
	// which nothing is in a file.
	Before, After, Unheard int
	// Missing is how many of the others are in no file: it should be 0.
	Missing int
	// Undecodable is how many are in a file without what they refer to,
	// Twice how many are in a file once more, Strange how many frames in files
	// were not sent, or not like that, or not by that participant.
	Undecodable, Twice, Strange int
	// Blind is the longest time for which a participant was sending and nothing
	// of it was recorded, on no connection: from the first such frame to the
	// next recorded one, as they were sent.
	Blind time.Duration
	// Late is by how much, at most, a frame was sent too late: the machine was
	// busy.
	Late time.Duration
}

// Required is how many frames had to be recorded.
func (t Tally) Required() int { return t.Sent - t.Before - t.After - t.Unheard }

// Faults tells what is wrong, or gives "".
func (t Tally) Faults() string {
	if t.Missing+t.Undecodable+t.Twice+t.Strange == 0 {
		return ""
	}
	return fmt.Sprintf("%d missing, %d undecodable, %d twice, %d strange", t.Missing, t.Undecodable, t.Twice, t.Strange)
}

// Result is what Check has found.
type Result struct {
	Connections, Files int
	Video, Audio       Tally
	Manifest           recorder.Manifest
	// Skews has, for each recorded picture, how much later it is shown than it
	// was sent, less the same of the sound before it, by the sender's own
	// timestamps. Sorted by size, without sign. Worst tells where the largest
	// is.
	Skews []time.Duration
	Worst string
	// Details are the first faults in words.
	Details []string
}

// Skew gives the skew that a part of the pictures, from 0 to 1, is within: at 1
// the largest.
func (r *Result) Skew(part float64) time.Duration {
	if len(r.Skews) == 0 {
		return 0
	}
	return r.Skews[int(part*float64(len(r.Skews)-1))]
}

// maxDetails bounds Result.Details.
const maxDetails = 50

func (r *Result) detail(format string, args ...any) {
	if len(r.Details) < maxDetails {
		r.Details = append(r.Details, fmt.Sprintf(format, args...))
	}
}

func (r *Result) tally(kind int) *Tally {
	if kind == 0 {
		return &r.Video
	}
	return &r.Audio
}

// check is one run of Check.
type check struct {
	*Result
	conns []*conn
	found [][len(kinds)][]bool // by connection, kind and number
	worst time.Duration        // of Skews
}

// Check compares the files of a session, a folder with a manifest, with what was
// sent to the recorder: whoever a connection was to. It is for when nobody
// sends any more. The error is one of reading.
func (l *Log) Check(session string) (*Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &check{Result: &Result{Connections: len(l.conns)}, conns: l.conns}
	for _, conn := range l.conns {
		conn.mu.Lock()
		defer conn.mu.Unlock()
		var found [len(kinds)][]bool
		for kind := range kinds {
			found[kind] = make([]bool, len(conn.sent[kind]))
		}
		c.found = append(c.found, found)
	}
	b, err := os.ReadFile(filepath.Join(session, recorder.ManifestName))
	if err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	if err := json.Unmarshal(b, &c.Manifest); err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	c.Files = len(c.Manifest.Files)
	for _, f := range c.Manifest.Files {
		if err := c.file(session, f); err != nil {
			return nil, err
		}
	}
	for kind := range kinds {
		c.count(kind)
	}
	slices.Sort(c.Skews)
	return c.Result, nil
}

// file notes what is in one file.
func (c *check) file(session string, entry recorder.FileEntry) error {
	f, err := os.Open(filepath.Join(session, filepath.FromSlash(entry.Path)))
	if err != nil {
		return err
	}
	defer f.Close()
	r := webm.NewReader(f)
	// What the decoder has: the last frame, if it could decode that.
	type last struct {
		conn, n uint32
		whole   bool
	}
	var before [len(kinds)]last
	var sound offset
	for {
		block, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", entry.Path, err)
		}
		kind := kindOf(r, block.Track)
		if kind < 0 {
			continue
		}
		t := c.tally(kind)
		number, n, ok := read(block.Data)
		if !ok || int(number) >= len(c.conns) || int(n) >= len(c.found[number][kind]) || c.conns[number].participant != entry.Participant {
			t.Strange++
			c.detail("%s: a strange %v frame at %v", entry.Path, kinds[kind], block.Time)
			continue
		}
		if c.found[number][kind][n] {
			t.Twice++
			c.detail("%s: %v frame %d of connection %d comes twice, at %v", entry.Path, kinds[kind], n, number, block.Time)
			continue
		}
		c.found[number][kind][n] = true
		b := before[kind]
		whole := c.conns[number].sent[kind][n].key || b.whole && b.conn == number && b.n+1 == n
		if !whole {
			t.Undecodable++
			c.detail("%s: %v frame %d of connection %d, at %v, comes without what it refers to", entry.Path, kinds[kind], n, number, block.Time)
		}
		before[kind] = last{number, n, whole}
		// Opus' CodecDelay stands for what the encoder has looked ahead, and so
		// is no part of where a packet belongs.
		placed := block.Time - c.conns[number].due(kind, n)
		if kind == 1 {
			sound = offset{number, placed, true}
		} else if sound.known && sound.conn == number {
			skew := placed - sound.by
			if skew.Abs() > c.worst {
				c.worst = skew.Abs()
				c.Worst = fmt.Sprintf("%v in %s at %v, video frame %d of connection %d", skew, entry.Path, block.Time, n, number)
			}
			c.Skews = append(c.Skews, skew.Abs())
		}
	}
	for _, fault := range r.Faults() {
		c.Video.Strange++
		c.detail("%s: at byte %d: %s", entry.Path, fault.Offset, fault.What)
	}
	return nil
}

// offset is the place of a packet of sound in a file, less its time as sent.
type offset struct {
	conn  uint32
	by    time.Duration
	known bool
}

func kindOf(r *webm.Reader, number int) int {
	for _, t := range r.Tracks() {
		if t.Number == number {
			return slices.Index(kinds[:], t.Codec.Kind())
		}
	}
	return -1
}

// count sums up one kind.
func (c *check) count(kind int) {
	by := map[string][]int{} // participants' connections
	for i, conn := range c.conns {
		by[conn.participant] = append(by[conn.participant], i)
	}
	t := c.tally(kind)
	for _, of := range by {
		for i, number := range of {
			c.connection(t, kind, number, of[i+1:])
		}
		t.Blind = max(t.Blind, c.blind(kind, of))
	}
}

// connection counts one connection's frames; later are those that the
// participant has made after it.
func (c *check) connection(t *Tally, kind, number int, later []int) {
	sent, found := c.conns[number].sent[kind], c.found[number][kind]
	t.Sent += len(sent)
	for n, f := range sent {
		t.Late = max(t.Late, f.at-sent[0].at-c.conns[number].due(kind, uint32(n)))
	}
	first := slices.Index(found, true)
	if first < 0 {
		t.Unheard += len(sent)
		return
	}
	end := sent[len(sent)-1].at
	for _, next := range later {
		if i := slices.Index(c.found[next][kind], true); i >= 0 {
			end = min(end, c.conns[next].sent[kind][i].at)
		}
	}
	t.Before += first
	missing := 0
	for n := first; n < len(sent); n++ {
		switch {
		case found[n]:
			t.Recorded++
		case sent[n].at > end-Grace:
			t.After++
		default:
			missing++
		}
	}
	if missing > 0 {
		t.Missing += missing
		n := first + slices.Index(found[first:], false)
		c.detail("connection %d, of %q to %q: %d of %d %v frames are missing, the first is %d, sent after %v",
			number, c.conns[number].participant, c.conns[number].to, missing, len(sent), kinds[kind], n, sent[n].at)
	}
}

// away is how long a participant sends nothing who is not there.
const away = time.Second

// blind gives the longest time without a recorded frame while a participant was
// sending, on any of the connections.
func (c *check) blind(kind int, of []int) time.Duration {
	type instant struct {
		at    time.Duration
		found bool
	}
	var all []instant
	for _, number := range of {
		for n, f := range c.conns[number].sent[kind] {
			all = append(all, instant{f.at, c.found[number][kind][n]})
		}
	}
	slices.SortFunc(all, func(a, b instant) int {
		if a.at == b.at && a.found != b.found { // the recorded one ends the dark
			if b.found {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.at, b.at)
	})
	var worst, since time.Duration
	dark := false
	for i, in := range all {
		if i > 0 && in.at-all[i-1].at > away {
			dark = false
		}
		switch {
		case !in.found && !dark:
			dark, since = true, in.at
		case in.found && dark:
			dark = false
			worst = max(worst, in.at-since)
		}
	}
	return worst
}
