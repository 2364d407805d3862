package health

import (
	"testing"
	"time"
)

// patient looks at a connection every quarter of a second.
type patient struct {
	t   *testing.T
	now time.Time
	j   Judge
}

// spend lets time go by, and wants the connection to become as poor after so much
// of it, or to stay as it is where after is 0.
func (p *patient) spend(d time.Duration, loss float64, short bool, after time.Duration, poor bool) {
	p.t.Helper()
	const step = 250 * time.Millisecond
	changed := time.Duration(0)
	for at := time.Duration(0); at < d; at += step {
		if p.j.Look(p.now, loss, short) {
			if changed != 0 {
				p.t.Fatalf("it changes at %v and at %v", changed, at)
			}
			changed = max(at, 1)
		}
		p.now = p.now.Add(step)
	}
	if changed != after || p.j.Poor() != poor {
		p.t.Fatalf("with a loss of %g it is poor: %v, after %v; want %v after %v", loss, p.j.Poor(), changed, poor, after)
	}
}

func TestPoorAndRecovered(t *testing.T) {
	p := &patient{t: t, now: time.Unix(1000, 0)}
	p.spend(10*time.Second, 0.05, false, 0, false)
	p.spend(2*time.Second, 0.3, false, 0, false) // a moment is nothing
	p.spend(time.Second, 0, false, 0, false)
	p.spend(5*time.Second, 0.3, false, 3*time.Second, true)
	if !p.j.Relief() || p.j.Reasons() != "loss" {
		t.Errorf("relief %v for %q", p.j.Relief(), p.j.Reasons())
	}
	p.spend(time.Minute, 0.05, false, 0, true) // neither poor nor well
	p.spend(10*time.Second, 0.01, false, 5*time.Second, false)
	if p.j.Relief() {
		t.Error("relief for one that has recovered")
	}
	// It relapses, and is believed later.
	p.spend(20*time.Second, 0.01, true, 0, false) // an estimate, no more
	p.spend(5*time.Second, 0.04, true, 3*time.Second, true)
	p.spend(20*time.Second, 0, true, 0, true) // it would be short again
	if !p.j.Relief() || p.j.Reasons() != "bitrate" {
		t.Errorf("relief %v for %q", p.j.Relief(), p.j.Reasons())
	}
	p.spend(15*time.Second, 0, false, 10*time.Second, false)
	p.spend(2*time.Minute, 0, false, 0, false)
	p.spend(4*time.Second, 0.2, true, 3*time.Second, true)
	if p.j.Reasons() != "loss, bitrate" {
		t.Errorf("poor for %q", p.j.Reasons())
	}
	p.spend(8*time.Second, 0, false, 5*time.Second, false)
}

// TestReliefThatDoesNotHelpEnds has a link lose as much whatever it is sent, as
// radio does.
func TestReliefThatDoesNotHelpEnds(t *testing.T) {
	p := &patient{t: t, now: time.Unix(1000, 0)}
	p.spend(17*time.Second, 0.2, false, 3*time.Second, true)
	if !p.j.Relief() {
		t.Error("there is no relief within the trial")
	}
	p.spend(3*time.Second, 0.2, false, 0, true)
	if p.j.Relief() {
		t.Error("relief goes on though it does not help")
	}
	p.spend(time.Second, 0.2, true, 0, true)
	if !p.j.Relief() {
		t.Error("there is no relief where less gets through than is needed")
	}
}
