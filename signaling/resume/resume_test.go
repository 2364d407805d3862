package resume

import (
	"slices"
	"testing"
	"time"
)

func TestLogGivesWhatIsMissing(t *testing.T) {
	var l Log[int]
	now := time.Unix(0, 0)
	if missed, ok := l.Since(0); !ok || len(missed) != 0 {
		t.Errorf("before anything was sent: %v, %v", missed, ok)
	}
	for i := range 5 {
		l.Add(i, 10, now)
	}
	for n := range uint64(6) {
		if missed, ok := l.Since(n); !ok || !slices.Equal(missed, []int{0, 1, 2, 3, 4}[n:]) {
			t.Errorf("after %d: %v, %v", n, missed, ok)
		}
	}
	for _, n := range []uint64{6, 1 << 63, ^uint64(0)} {
		if _, ok := l.Since(n); ok {
			t.Errorf("%d of 5 have come", n)
		}
	}
}

func TestLogIsBounded(t *testing.T) {
	for name, size := range map[string]int{"messages": 1, "bytes": MaxBytes / 10} {
		t.Run(name, func(t *testing.T) {
			var l Log[int]
			const sent = 3 * MaxMessages
			for i := range sent {
				l.Add(i, size, time.Time{})
			}
			most := min(MaxMessages, MaxBytes/size)
			if len(l.kept) != most || l.bytes != most*size {
				t.Errorf("%d messages of %d bytes are kept", len(l.kept), l.bytes)
			}
			if _, ok := l.Since(uint64(sent - most - 1)); ok {
				t.Error("what is gone is not missed")
			}
			if missed, ok := l.Since(uint64(sent - most)); !ok || len(missed) != most || missed[0] != sent-most {
				t.Errorf("%d are given, %v", len(missed), ok)
			}
		})
	}
	var l Log[int]
	l.Add(1, MaxBytes+1, time.Time{})
	if _, ok := l.Since(0); ok || l.bytes != 0 {
		t.Error("a message that is too large is kept")
	}
}

func TestLogForgetsWhatIsOld(t *testing.T) {
	l := Log[int]{For: time.Minute}
	start := time.Unix(1000, 0)
	for i := range 10 {
		l.Add(i, 1, start.Add(time.Duration(i)*10*time.Second))
	}
	if missed, ok := l.Since(3); !ok || len(missed) != 7 {
		t.Errorf("those of the last minute: %v, %v", missed, ok)
	}
	if _, ok := l.Since(2); ok {
		t.Error("one of 70 s ago is kept")
	}
	l.Forget(start.Add(time.Hour))
	if missed, ok := l.Since(10); !ok || len(missed) != 0 || l.bytes != 0 {
		t.Errorf("an hour later: %v, %v", missed, ok)
	}
}
