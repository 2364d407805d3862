package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/roomtape/roomtape/internal/lossy"
	"github.com/roomtape/roomtape/internal/marked"
	recording "github.com/roomtape/roomtape/recorder"
)

// summary is what a run has come to.
type summary struct {
	Seconds     float64      `json:"seconds"`
	Publishers  int          `json:"publishers"`
	Loss        float64      `json:"loss"`
	Delay       string       `json:"delay"`
	Restarts    int          `json:"server_restarts"`
	Stays       int          `json:"stays"`
	Rejoins     int          `json:"rejoins"`
	Vanished    int          `json:"vanished"`
	Relay       lossy.Counts `json:"relay"`
	Connections int          `json:"connections"`
	Files       int          `json:"files"`
	Bytes       int64        `json:"bytes"`
	State       string       `json:"state"`
	Exit        int          `json:"exit_code"`

	Video marked.Tally `json:"video"`
	Audio marked.Tally `json:"audio"`
	// SkewP95 and SkewMax are of sound and picture, in milliseconds.
	SkewP95 float64 `json:"skew_p95_ms"`
	SkewMax float64 `json:"skew_max_ms"`
	Worst   string  `json:"skew_worst"`
	// Packets are those of all tracks in the manifest.
	Packets recording.PacketCounts `json:"packets"`

	// Stalls are of the machine, not of the recorder: what the network loses
	// while one lasts longer than --max-wait-loss can't come in time.
	Stalls []stall `json:"stalls"`

	Before sample `json:"before"`
	// Early and Late are medians over the second and the last fifth of the run.
	Early   sample   `json:"early"`
	Late    sample   `json:"late"`
	PeakRSS int64    `json:"peak_rss_bytes"`
	After   sample   `json:"after"`
	Slope   float64  `json:"heap_slope_bytes_per_hour"`
	Inspect int      `json:"files_whole"`
	Decoded int      `json:"files_decoded"`
	Wrong   []string `json:"wrong"`
	Details []string `json:"details,omitempty"`
}

func (s *summary) wrong(format string, args ...any) {
	s.Wrong = append(s.Wrong, fmt.Sprintf(format, args...))
}

func (s *summary) judgeMedia(r *marked.Result) {
	s.Details = r.Details
	s.SkewP95, s.SkewMax = r.Skew(0.95).Seconds()*1000, r.Skew(1).Seconds()*1000
	s.Worst = r.Worst
	for kind, t := range map[string]marked.Tally{"video": r.Video, "audio": r.Audio} {
		if f := t.Faults(); f != "" {
			s.wrong("%s: %s", kind, f)
		}
		if t.Required() == 0 {
			s.wrong("%s: nothing was recorded", kind)
		}
	}
}

// judgeManifest adds up what became of the packets.
func (s *summary) judgeManifest(m recording.Manifest) {
	if m.State != recording.StateComplete {
		s.wrong("the manifest's state is %q: %s", m.State, m.Reason)
	}
	if m.Refused > 0 {
		s.wrong("%d were refused", m.Refused)
	}
	add := func(where string, p recording.PacketCounts) {
		sum := p.Written + p.Late + p.Duplicate
		for _, n := range p.Discarded {
			sum += n
		}
		if sum != p.Received {
			s.wrong("%s: %d packets were received, and %d are accounted for", where, p.Received, sum)
		}
		s.Packets.Received += p.Received
		s.Packets.Lost += p.Lost
		s.Packets.Recovered += p.Recovered
		s.Packets.Late += p.Late
		s.Packets.Duplicate += p.Duplicate
		s.Packets.Written += p.Written
	}
	for _, f := range m.Files {
		s.Bytes += f.Bytes
		if f.Error != "" {
			s.wrong("%s: %s", f.Path, f.Error)
		}
		for _, t := range f.Tracks {
			add(fmt.Sprintf("%s, track %d", f.Path, t.Number), t.Packets)
		}
	}
	for _, u := range m.Unrecorded {
		add("a track of "+u.Participant+" without a file", u.Packets)
	}
}

// judgeProcess looks for what has grown.
func (s *summary) judgeProcess(t *tape) {
	if s.Exit = t.exit; t.exit != 0 {
		s.wrong("the recorder's exit code is %d", t.exit)
	}
	s.Before, s.After = t.before, t.after
	n := len(t.samples)
	s.Early, s.Late = middle(t.samples[n/5:2*n/5]), middle(t.samples[4*n/5:])
	for _, x := range t.samples {
		s.PeakRSS = max(s.PeakRSS, x.RSS)
	}
	s.Slope = slope(t.samples[n/5:])
	if s.After.Goroutines > s.Before.Goroutines {
		s.wrong("%d goroutines are left, there were %d", s.After.Goroutines, s.Before.Goroutines)
	}
	if s.After.Files > s.Before.Files {
		s.wrong("%d file descriptors are left, there were %d", s.After.Files, s.Before.Files)
	}
	// The manifest keeps an entry of each file and stay, with its gaps.
	const perFile, free = 16 << 10, 4 << 20
	if more := s.After.Heap - s.Before.Heap; more > free+perFile*int64(s.Files) {
		s.wrong("the heap is %.1f MB larger than it was, for %d files", mb(more), s.Files)
	}
	if more := s.Late.RSS - s.Early.RSS; more > s.Early.RSS/4+8<<20 {
		s.wrong("memory has grown from %.1f MB to %.1f MB", mb(s.Early.RSS), mb(s.Late.RSS))
	}
}

// judgeFiles has every file inspected, and some decoded.
func (s *summary) judgeFiles(ctx context.Context, set settings, dir string, m recording.Manifest) error {
	for _, f := range m.Files {
		out, err := exec.CommandContext(ctx, set.roomtape, "inspect", filepath.Join(dir, f.Path)).CombinedOutput()
		var status *exec.ExitError
		switch {
		case errors.As(err, &status):
			s.wrong("inspect %s: exit code %d: %s", f.Path, status.ExitCode(), out)
		case err != nil:
			return err
		default:
			s.Inspect++
		}
	}
	ffmpeg, missing := exec.LookPath("ffmpeg")
	if missing != nil {
		s.Details = append(s.Details, "no file is decoded: "+missing.Error())
		return ctx.Err()
	}
	files := append([]recording.FileEntry(nil), m.Files...)
	rand.New(rand.NewPCG(set.seed, 2)).Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
	for _, f := range files[:min(set.decode, len(files))] {
		out, err := exec.CommandContext(ctx, ffmpeg, "-v", "error", "-i", filepath.Join(dir, f.Path), "-f", "null", "-").CombinedOutput()
		if err != nil || len(out) > 0 {
			s.wrong("ffmpeg on %s: %v: %.500s", f.Path, err, out)
		} else {
			s.Decoded++
		}
	}
	return ctx.Err()
}

// String gives the summary for people.
func (s *summary) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%.0f s, %d publishers, %.1f %% loss and %s delay each way: %d stays (%d vanished), %d server restarts, %d rejoins, %d connections\n",
		s.Seconds, s.Publishers, s.Loss*100, s.Delay, s.Stays, s.Vanished, s.Restarts, s.Rejoins, s.Connections)
	fmt.Fprintf(&b, "relay      %v\n", s.Relay)
	fmt.Fprintf(&b, "packets    %d received, %d recovered, %d lost, %d late, %d duplicate\n",
		s.Packets.Received, s.Packets.Recovered, s.Packets.Lost, s.Packets.Late, s.Packets.Duplicate)
	for i, t := range []marked.Tally{s.Video, s.Audio} {
		fmt.Fprintf(&b, "%s      %d sent, %d of %d recorded (%d before the first, %d in the last second, %d on connections that came to nothing); %d missing, %d undecodable, %d twice, %d strange; longest blind time %v; sent late by %v at most\n",
			[]string{"video", "audio"}[i], t.Sent, t.Required()-t.Missing, t.Required(), t.Before, t.After, t.Unheard, t.Missing, t.Undecodable, t.Twice, t.Strange,
			t.Blind.Round(time.Millisecond), t.Late.Round(time.Millisecond))
	}
	fmt.Fprintf(&b, "sync       95 %% of the pictures within %.1f ms of the sound, all within %.1f ms (%s)\n", s.SkewP95, s.SkewMax, s.Worst)
	fmt.Fprintf(&b, "files      %d, %.1f MB, %d whole, %d decoded; manifest %s, exit code %d\n", s.Files, mb(s.Bytes), s.Inspect, s.Decoded, s.State, s.Exit)
	fmt.Fprintf(&b, "process    before: %v\n           early:  %v\n           late:   %v\n           after:  %v\n           peak RSS %.1f MB, heap %+.2f MB an hour\n",
		s.Before, s.Early, s.Late, s.After, mb(s.PeakRSS), s.Slope/(1<<20))
	for _, x := range s.Stalls {
		fmt.Fprintf(&b, "stall      the machine stood still for %.1f s, %.0f s after the start\n", x.Long, x.At)
	}
	for _, d := range s.Details {
		fmt.Fprintln(&b, "detail:", d)
	}
	for _, w := range s.Wrong {
		fmt.Fprintln(&b, "WRONG:", w)
	}
	if len(s.Wrong) == 0 {
		fmt.Fprintln(&b, "All is well.")
	}
	return b.String()
}
