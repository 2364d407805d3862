//go:build integration

package guest_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/guest"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/recorder"
)

// story is what is known of one publisher.
type story struct {
	t     *testing.T
	id    string
	codec media.Codec
	clips []guest.Clip
	sent  [][]guest.Sent // by clip

	// The latest recorded picture: its clip, and its place in sent; none before.
	clip, at int
	recorded int
	switches int
	missing  int
	upper    int // left out, of upper layers
	longest  time.Duration
	// placed has how much later each picture is in the recording than it was sent.
	placed []time.Duration
}

// check looks at all that was recorded.
func (h *house) check(c *crowd, m *material, squeezed [2]time.Time) {
	t := h.t
	b, err := os.ReadFile(filepath.Join(h.dir, recorder.ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	var manifest recorder.Manifest
	if err := json.Unmarshal(b, &manifest); err != nil {
		t.Fatal(err)
	}
	total := 0
	for i, p := range c.all {
		s := &story{t: t, id: c.ids[i], codec: c.codec[i], clips: m.clips[c.codec[i]], clip: -1}
		for k := range s.clips {
			s.sent = append(s.sent, p.Sent(k))
		}
		for _, f := range manifest.Files {
			if f.Participant != s.id {
				continue
			}
			s.file(h, f, m.sums[s.codec], squeezed)
		}
		s.conclude()
		keys, again := 0, 0
		for k := range s.clips {
			a, b := p.Counts(k)
			keys, again = keys+a, again+b
		}
		t.Logf("%s %v: %d pictures, %d switches, %d missing, %d of upper layers left out, at most %v without; %d keyframes asked for, %d packets again",
			s.id, s.codec, s.recorded, s.switches, s.missing, s.upper, s.longest, keys, again)
		total += s.switches
	}
	t.Logf("%d switches", total)
	if total < 2*len(c.all) {
		t.Errorf("%d switches in all", total)
	}
}

// conclude judges all that was recorded of a publisher.
func (s *story) conclude() {
	if want := int(length / time.Second * fps / 2); s.recorded+s.upper < want {
		s.t.Errorf("%s: %d pictures are recorded, and %d of upper layers left out; want at least %d", s.id, s.recorded, s.upper, want)
	}
	if s.recorded == 0 {
		return
	}
	if rest := len(s.sent[s.clip]) - 1 - s.at; rest > fps/2 {
		s.t.Errorf("%s: the last %d pictures of %s are missing", s.id, rest, s.clips[s.clip].RID)
	}
	// Until the first reports on its clock, an encoding has its place by arrival.
	slices.Sort(s.placed)
	first, half, most, last := s.placed[0], s.placed[len(s.placed)/2], s.placed[len(s.placed)*9/10], s.placed[len(s.placed)-1]
	if half-first > 100*time.Millisecond || most-first > 200*time.Millisecond || last-first > 500*time.Millisecond {
		s.t.Errorf("%s: pictures are %v to %v later than they were sent, half of them up to %v, nine of ten up to %v", s.id, first, last, half, most)
	}
	if s.longest > longest {
		s.t.Errorf("%s: for %v there is no picture", s.id, s.longest)
	}
}

// longest is how long there may be no picture: an encoding that was sent is taken for
// one that has ended after two seconds, and then the next may end.
const longest = 5 * time.Second

// file looks at one file.
func (s *story) file(h *house, entry recorder.FileEntry, sums [][]string, squeezed [2]time.Time) {
	t, path := s.t, filepath.Join(h.dir, filepath.FromSlash(entry.Path))
	f, err := os.Open(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	last := map[int]time.Duration{}
	var want []string
	report, err := webm.Survey(f, -1, func(b webm.Block, track webm.Track) {
		if before, ok := last[b.Track]; ok && b.Time <= before {
			t.Errorf("%s: a block of track %d at %v comes after one at %v", entry.Path, b.Track, b.Time, before)
		}
		last[b.Track] = b.Time
		if track.Codec.Kind() != media.Video {
			return
		}
		shown := h.began.Add(time.Duration(entry.OffsetMS)*time.Millisecond + b.Time)
		clip, at := s.find(b.Data, shown)
		if clip < 0 {
			t.Errorf("%s: the picture of %d bytes at %v was not sent, or not then", entry.Path, len(b.Data), b.Time)
			return
		}
		sent := s.sent[clip][at]
		want = append(want, sums[clip][sent.Picture])
		s.follow(clip, at, squeezed)
		s.placed = append(s.placed, h.began.Add(time.Duration(entry.OffsetMS)*time.Millisecond+b.Time).Sub(sent.At))
	})
	if err != nil || len(report.Faults) > 0 || !report.Finalized || !report.Seekable {
		t.Errorf("%s: %v, %+v", entry.Path, err, report)
	}
	if got := decoded(t, path); !slices.Equal(got, want) {
		n := 0
		for n < min(len(got), len(want)) && got[n] == want[n] {
			n++
		}
		t.Errorf("%s: of %d pictures %d are decoded, and the %d. is not as it was encoded", entry.Path, len(want), len(got), n+1)
	}
}

// find gives the picture that a recorded one is, the nearest to a time, since clips go
// round. It comes after the latest one of its encoding. At a switch the same picture
// may come again in the other encoding and, where the beginning of a keyframe was
// lost, some before that.
func (s *story) find(data []byte, when time.Time) (clip, at int) {
	clip = -1
	far := func(at time.Time) time.Duration { return when.Sub(at).Abs() }
	for k, sent := range s.sent {
		for i := range sent {
			if k == s.clip && i <= s.at || far(sent[i].At) > time.Second || clip >= 0 && far(sent[i].At) >= far(s.sent[clip][at].At) {
				continue
			}
			if s.clips[k].Pictures[sent[i].Picture].SameAs(s.codec, data) {
				clip, at = k, i
			}
		}
	}
	return clip, at
}

// follow judges whether a picture may follow the latest one.
func (s *story) follow(clip, at int, squeezed [2]time.Time) {
	now := s.sent[clip][at]
	key := s.clips[clip].Pictures[now.Picture].Key
	s.recorded++
	defer func() { s.clip, s.at = clip, at }()
	if s.clip < 0 {
		return
	}
	before := s.sent[s.clip][s.at]
	between := s.sent[s.clip][s.at+1:]
	missing, gap := 0, time.Duration(0)
	for _, b := range between {
		if !b.At.Before(now.At) {
			break
		}
		if s.clips[s.clip].Pictures[b.Picture].Layer > 0 {
			s.upper++
			continue
		}
		missing++
		gap = now.At.Sub(before.At)
	}
	if clip != s.clip {
		s.switches++
		if !key {
			s.t.Errorf("%s: a switch to %s without a keyframe", s.id, s.clips[clip].RID)
		}
	}
	free := !squeezed[0].IsZero() && now.At.After(squeezed[0])
	if missing > 0 && !free {
		s.missing += missing
		s.t.Errorf("%s: %d pictures of %s, %v, are missing before one of %s, key %t, after %v", s.id, missing, s.clips[s.clip].RID, gap, s.clips[clip].RID, key, now.At.Sub(s.sent[s.clip][0].At))
	}
	s.longest = max(s.longest, now.At.Sub(before.At))
}
