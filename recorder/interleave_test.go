package recorder

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/roomtape/roomtape/media"
)

// order pushes frames such as "a100@105" (of lane a, time 100 ms, complete at
// 105 ms) into an interleaver and gives the order in which they come out, with
// the time when they did. "a.@200" ends lane a at 200 ms.
func order(hold time.Duration, frames string) string {
	in := interleaver{hold: hold}
	lanes := map[string]*lane{}
	for _, name := range []string{"a", "v"} {
		lanes[name] = newLane(name, media.Opus)
		in.add(lanes[name])
	}
	var out []string
	drain := func(now time.Time, all bool) {
		for l := in.next(now, all); l != nil; l = in.next(now, all) {
			h := in.pop(l)
			out = append(out, l.id+itoa(h.frame.Time)+"@"+itoa(now.Sub(t0)))
		}
	}
	var now time.Time
	for _, f := range strings.Fields(frames) {
		name, rest := f[:1], f[1:]
		what, at, _ := strings.Cut(rest, "@")
		next := t0.Add(atoi(at))
		for due := in.due(); !due.IsZero() && due.Before(next); due = in.due() {
			drain(due, false)
		}
		now = next
		if what == "." {
			lanes[name].ended = true
		} else {
			in.push(lanes[name], held{frame: media.Frame{Time: atoi(what)}, turn: atoi(what), entered: now})
		}
		drain(now, false)
	}
	drain(now, true)
	return strings.Join(out, " ")
}

func itoa(d time.Duration) string { return strings.TrimSuffix(d.String(), "ms") }

func atoi(s string) time.Duration {
	d, err := time.ParseDuration(s + "ms")
	if err != nil {
		panic(err)
	}
	return d
}

func TestInterleaverPutsFramesInOrder(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"in turn", "a20@1 v30@2 a40@3 v50@4", "a20@2 v30@3 a40@4 v50@4"},
		{"same time goes out at once", "a20@1 v20@2 a40@3 v40@4", "a20@2 v20@2 a40@4 v40@4"},
		{"a late track is waited for", "a20@1 a40@20 a60@40 v10@50 v30@51 v70@52", "v10@50 a20@51 v30@51 a40@52 a60@52 v70@52"},
		{"but not for longer than hold", "a20@1 a40@20 v10@150", "a20@101 a40@120 v10@150"},
		{"and goes out at once when it is later", "a20@1 v30@2 a40@20 v50@21 v35@130", "a20@2 v30@20 a40@21 v50@121 v35@130"},
		{"a track that has ended holds nobody", "v10@0 a20@1 a40@2 v.@3 a60@4", "v10@1 a20@3 a40@3 a60@4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, order(ms(100), c.in)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestInterleaverIsBounded(t *testing.T) {
	in := interleaver{hold: time.Hour}
	a, v := newLane("a", media.Opus), newLane("v", media.VP8)
	in.add(a)
	in.add(v)
	for i := range MaxHeldFrames + 100 {
		in.push(a, held{frame: media.Frame{Time: ms(i)}, turn: ms(i), entered: t0})
		for l := in.next(t0, false); l != nil; l = in.next(t0, false) {
			in.pop(l)
		}
	}
	if in.frames != MaxHeldFrames {
		t.Errorf("%d frames are held", in.frames)
	}
}

func TestInterleaverKeepsTheOrderOfTracksThatComeInTime(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	in := interleaver{hold: ms(100)}
	type arrival struct {
		lane *lane
		held
	}
	var arrivals []arrival
	for range 3 {
		l := newLane("", media.Opus)
		in.add(l)
		last := time.Duration(0)
		for at := time.Duration(0); at < 10*time.Second; at += ms(5 + rnd.IntN(60)) {
			last = max(last, at+ms(rnd.IntN(90)))
			arrivals = append(arrivals, arrival{l, held{frame: media.Frame{Time: at}, turn: at, entered: t0.Add(last)}})
		}
	}
	slices.SortStableFunc(arrivals, func(a, b arrival) int { return a.entered.Compare(b.entered) })
	last, n := time.Duration(0), 0
	drain := func(now time.Time, all bool) {
		for l := in.next(now, all); l != nil; l = in.next(now, all) {
			h := in.pop(l)
			if h.frame.Time < last {
				t.Fatalf("frame of %v after that of %v", h.frame.Time, last)
			}
			last = h.frame.Time
			n++
		}
	}
	for _, a := range arrivals {
		for due := in.due(); !due.IsZero() && due.Before(a.entered); due = in.due() {
			drain(due, false)
		}
		in.push(a.lane, a.held)
		drain(a.entered, false)
	}
	drain(t0.Add(time.Hour), true)
	if n != len(arrivals) {
		t.Errorf("%d frames of %d", n, len(arrivals))
	}
}
