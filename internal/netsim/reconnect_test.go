package netsim_test

import (
	"testing"
	"time"

	"github.com/roomtape/roomtape/recorder"
)

// files checks how many files and stays of participants a manifest has.
func files(t *testing.T, m recorder.Manifest, n, stays int) {
	t.Helper()
	if len(m.Files) != n || len(m.Participants) != stays {
		t.Fatalf("%d files %+v and %d stays %+v, want %d and %d", len(m.Files), m.Files, len(m.Participants), m.Participants, n, stays)
	}
}

// follows checks that the second of two files goes on where the first ends: not
// much is there twice, and not much missing between them.
func follows(t *testing.T, a, b recorder.FileEntry) {
	t.Helper()
	_, end := span(a)
	begin, _ := span(b)
	if d := begin - end; d.Abs() > 500*time.Millisecond {
		t.Errorf("%s begins %v after the end of %s", b.Path, d, a.Path)
	}
}

// TestServerRestarts: media goes on in the same files without a gap, whether
// people come back before the recorder, after it, or not at all.
func TestServerRestarts(t *testing.T) {
	m := inVenue(t, func(v *venue) {
		quick, slow, never := v.enter("quick", true), v.enter("slow", true), v.enter("never", true)
		for range 2 {
			time.Sleep(5 * time.Second)
			v.shut()
			time.Sleep(3 * time.Second)
			v.open()
			quick.join(false)
			time.Sleep(20 * time.Second)
			slow.join(false)
		}
		time.Sleep(5 * time.Second)
		for _, p := range []*person{quick, slow, never} {
			p.pub().Stop()
		}
		time.Sleep(time.Second)
		if len(quick.pubs)+len(slow.pubs)+len(never.pubs) != 3 {
			v.t.Error("somebody was asked for another connection")
		}
	})
	files(t, m, 3, 3)
	for _, f := range m.Files {
		if _, end := span(f); lostFor(f) > 0 || end < time.Minute || written(f) < 1500 {
			t.Errorf("%s: %d frames, %v are missing, the end is at %v", f.Path, written(f), lostFor(f), end)
		}
	}
}

// TestReload: somebody leaves, with or without a goodbye, and is back half a second
// later with a new connection. It is one stay, and two files.
func TestReload(t *testing.T) {
	m := inVenue(t, func(v *venue) {
		first := v.enter("alice", false)
		time.Sleep(5 * time.Second)
		first.hangUp()
		time.Sleep(500 * time.Millisecond)
		second := v.enter("alice", false)
		time.Sleep(5 * time.Second)
		second.pub().Stop()
		time.Sleep(time.Second)
		for _, p := range []*person{first, second} {
			if n := len(p.pub().SentVideo()); n < 120 {
				v.t.Errorf("%d frames sent", n)
			}
		}
	})
	files(t, m, 2, 1)
	for _, f := range m.Files {
		if written(f) < 120 || lostFor(f) > 0 {
			t.Errorf("%s: %d frames, %v missing", f.Path, written(f), lostFor(f))
		}
	}
}

// TestSameIDTwice: a second page joins under an id that is in use, and the first
// one does not notice. The second one counts, once it works.
func TestSameIDTwice(t *testing.T) {
	m := inVenue(t, func(v *venue) {
		v.enter("alice", false)
		time.Sleep(5 * time.Second)
		second := v.enter("alice", false)
		time.Sleep(10 * time.Second)
		second.pub().Stop()
		time.Sleep(time.Second)
	})
	files(t, m, 2, 1)
	follows(t, m.Files[0], m.Files[1])
	if written(m.Files[0]) < 120 || written(m.Files[1]) < 245 {
		t.Errorf("%d and %d frames", written(m.Files[0]), written(m.Files[1]))
	}
}

// TestSocketDiesAndMediaGoesOn: they come back after 20 s, with the connection
// that they have, or with another.
func TestSocketDiesAndMediaGoesOn(t *testing.T) {
	for _, again := range []bool{false, true} {
		m := inVenue(t, func(v *venue) {
			alice := v.enter("alice", false)
			time.Sleep(5 * time.Second)
			alice.drop()
			time.Sleep(20 * time.Second)
			alice.join(again)
			if again {
				alice.pub().Start()
			}
			time.Sleep(10 * time.Second)
			alice.pub().Stop()
			time.Sleep(time.Second)
		})
		if !again {
			files(t, m, 1, 1)
			if written(m.Files[0]) < 870 || lostFor(m.Files[0]) > 0 {
				t.Errorf("%d frames, %v missing", written(m.Files[0]), lostFor(m.Files[0]))
			}
			continue
		}
		files(t, m, 2, 1)
		follows(t, m.Files[0], m.Files[1])
		if written(m.Files[0]) < 620 || written(m.Files[1]) < 245 {
			t.Errorf("%d and %d frames", written(m.Files[0]), written(m.Files[1]))
		}
	}
}

// TestMediaDiesAndTheSocketLives: for 20 s no media gets through. Who knows ICE
// restarts goes on in the same file, with a gap; who answers them with another
// connection goes on in another.
func TestMediaDiesAndTheSocketLives(t *testing.T) {
	const outage = 20 * time.Second
	for _, restarts := range []bool{true, false} {
		var back time.Duration
		m := inVenue(t, func(v *venue) {
			alice := v.enter("alice", restarts)
			time.Sleep(5 * time.Second)
			v.SetDown(true)
			time.Sleep(outage)
			v.SetDown(false)
			back = outage + 5*time.Second
			time.Sleep(60 * time.Second)
			alice.pub().Stop()
			time.Sleep(time.Second)
		})
		last := m.Files[len(m.Files)-1]
		_, end := span(last)
		if restarts {
			files(t, m, 1, 1)
			// The last of what was sent meanwhile can still be had.
			if d := lostFor(last); d < 5*time.Second || d > outage+3*time.Second {
				t.Errorf("%v are missing after an outage of %v", d, outage)
			}
		} else {
			files(t, m, 2, 1)
			begin, _ := span(last)
			if d := begin - back; d > 35*time.Second || lostFor(m.Files[0])+lostFor(last) > 0 {
				t.Errorf("the second file begins %v after the outage", d)
			}
			t.Logf("a client that knows no restart is back after %v", begin-back)
		}
		if end < 80*time.Second {
			t.Errorf("the recording ends at %v", end)
		}
	}
}

// TestMediaIsGoneForGood: the socket of somebody lives on without media. Their
// file is complete within a few minutes, while the session goes on.
func TestMediaIsGoneForGood(t *testing.T) {
	var offered int
	m := inVenue(t, func(v *venue) {
		alice := v.enter("alice", false)
		time.Sleep(5 * time.Second)
		v.SetDown(true)
		time.Sleep(10 * time.Minute)
		alice.mu.Lock()
		offered = len(alice.pubs) - 1
		alice.mu.Unlock()
	})
	files(t, m, 1, 1)
	if _, end := span(m.Files[0]); end > 6*time.Second || offered < 2 || offered > 6 {
		t.Errorf("the file ends at %v; %d more offers", end, offered)
	}
}

// TestRecorderMoves: the recorder's address changes, twice. The same sources go on
// in the same file, with a gap of some seconds at most.
func TestRecorderMoves(t *testing.T) {
	m := inVenue(t, func(v *venue) {
		alice := v.enter("alice", true)
		for range 2 {
			time.Sleep(10 * time.Second)
			v.Move(v.host)
		}
		time.Sleep(10 * time.Second)
		alice.pub().Stop()
		time.Sleep(time.Second)
	})
	files(t, m, 1, 1)
	if d := lostFor(m.Files[0]); d > 2*time.Second {
		t.Errorf("%v are missing after a change of address", d)
	}
	if _, end := span(m.Files[0]); end < 29*time.Second || written(m.Files[0]) < 690 {
		t.Errorf("%d frames, the recording ends at %v", written(m.Files[0]), end)
	}
	for _, tr := range m.Files[0].Tracks {
		for _, g := range tr.Gaps {
			if g.Reason != recorder.GapLoss {
				t.Errorf("gap %+v", g)
			}
		}
	}
}
