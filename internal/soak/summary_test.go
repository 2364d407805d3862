package main

import (
	"math"
	"strings"
	"testing"

	"github.com/roomtape/roomtape/internal/marked"
	recording "github.com/roomtape/roomtape/recorder"
)

// flat are the samples of an hour in which the heap grows by so much.
func flat(growth int64) []sample {
	var samples []sample
	for i := range 720 {
		samples = append(samples, sample{
			At: float64(i) * 5, Present: 20, RSS: 40 << 20, Goroutines: 600, Files: 100,
			Heap: 16<<20 + growth*int64(i)/720 + int64(i%7)<<16, // some noise
		})
	}
	return samples
}

func TestSlopeIsPerHour(t *testing.T) {
	for _, growth := range []int64{0, 10 << 20} {
		if got := slope(flat(growth)); math.Abs(got-float64(growth)) > 1<<18 {
			t.Errorf("a heap that grows by %d bytes in an hour has a slope of %.0f", growth, got)
		}
	}
	if s := slope(nil); s != 0 {
		t.Errorf("nothing has a slope of %v", s)
	}
}

func TestNumbersAreReadFromProfiles(t *testing.T) {
	const text = "Name:\troomtape\nVmRSS:\t   21500 kB\ngoroutine profile: total 16\n"
	if n := number(text, "VmRSS:"); n != 21500 {
		t.Errorf("VmRSS is %d", n)
	}
	if n := number(text, "goroutine profile: total "); n != 16 {
		t.Errorf("%d goroutines", n)
	}
	if n := number(text, "HeapAlloc = "); n != 0 {
		t.Errorf("what is not there is %d", n)
	}
}

// TestSummaryFindsWhatIsWrong gives a run in which one thing is wrong.
func TestSummaryFindsWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *tape, r *marked.Result)
		want  string
	}{
		"nothing":         {func(*tape, *marked.Result) {}, ""},
		"a frame":         {func(_ *tape, r *marked.Result) { r.Video.Missing = 1 }, "video: 1 missing"},
		"a packet":        {func(_ *tape, r *marked.Result) { r.Manifest.Files[0].Tracks[0].Packets.Received++ }, "11 packets were received, and 10"},
		"the state":       {func(_ *tape, r *marked.Result) { r.Manifest.State = recording.StateIncomplete }, "state"},
		"a goroutine":     {func(t *tape, _ *marked.Result) { t.after.Goroutines++ }, "goroutines are left"},
		"a descriptor":    {func(t *tape, _ *marked.Result) { t.after.Files++ }, "descriptors are left"},
		"the heap":        {func(t *tape, _ *marked.Result) { t.after.Heap += 5 << 20 }, "the heap is"},
		"the exit":        {func(t *tape, _ *marked.Result) { t.exit = 6 }, "exit code is 6"},
		"resident memory": {func(t *tape, _ *marked.Result) { grow(t.samples[600:]) }, "memory has grown"},
	} {
		rest := sample{RSS: 20 << 20, Heap: 3 << 20, Goroutines: 16, Files: 19}
		tape := &tape{before: rest, after: rest, samples: flat(0)}
		result := &marked.Result{Video: marked.Tally{Sent: 10, Recorded: 10}, Audio: marked.Tally{Sent: 10, Recorded: 10}}
		result.Manifest = recording.Manifest{State: recording.StateComplete, Files: []recording.FileEntry{{
			Tracks: []recording.TrackEntry{{Packets: recording.PacketCounts{
				Received: 10, Written: 6, Late: 1, Duplicate: 1, Discarded: map[string]int64{"incomplete": 2},
			}}},
		}}}
		c.spoil(tape, result)
		var s summary
		s.judgeMedia(result)
		s.judgeManifest(result.Manifest)
		s.judgeProcess(tape)
		said := strings.Join(s.Wrong, "\n")
		if (c.want == "") != (said == "") || !strings.Contains(said, c.want) {
			t.Errorf("%s: the summary says %q, want %q", name, said, c.want)
		}
	}
}

func grow(samples []sample) {
	for i := range samples {
		samples[i].RSS += 20 << 20
	}
}
