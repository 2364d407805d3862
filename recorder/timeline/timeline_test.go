package timeline

import (
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/depacket"
	"github.com/roomtape/roomtape/signaling"
)

const ms = time.Millisecond

// popAll pops until nothing more comes, waiting for what is held.
func popAll(t *Track, now time.Duration) []Placed {
	var out []Placed
	for {
		p, ok := t.Pop(now)
		if ok {
			out = append(out, p)
			continue
		}
		d, ok := t.Deadline()
		if !ok {
			return out
		}
		now = max(now, d)
	}
}

func TestFramesKeepTheSendersExactSpacing(t *testing.T) {
	tr := New(Config{}).NewTrack(media.Video, 90000)
	ts := uint32(1<<32 - 9000)
	var got []time.Duration
	for i := range 3001 {
		at := time.Second + time.Duration(i)*time.Second/30
		tr.Push(depacket.Frame{Timestamp: ts + uint32(i)*3000}, at)
		for _, p := range popAll(tr, at) {
			got = append(got, p.Time)
		}
	}
	if len(got) != 3001 {
		t.Fatalf("got %d frames, want 3001", len(got))
	}
	for i, at := range got {
		if want := time.Second + time.Duration(i)*time.Second/30; at < want-1 || at > want+1 {
			t.Fatalf("frame %d is at %v, want %v", i, at, want)
		}
	}
}

func TestReportsMoveATrackWithoutAStep(t *testing.T) {
	c := New(Config{})
	a, v := c.NewTrack(media.Audio, 48000), c.NewTrack(media.Video, 90000)
	var prev Placed
	var last time.Duration
	for i := range 500 {
		at := time.Second + time.Duration(i)*20*ms
		a.Push(depacket.Frame{Timestamp: uint32(i) * 960}, at)
		v.Push(depacket.Frame{Timestamp: uint32(i) * 1800}, at+60*ms) // 60 ms to encode
		popAll(a, at)
		for _, p := range popAll(v, at+60*ms) {
			if prev.Time != 0 && (p.Time-prev.Time < 19*ms || p.Time-prev.Time > 21*ms) {
				t.Fatalf("frame %d is %v after the one before", i, p.Time-prev.Time)
			}
			prev, last = p, p.Time
		}
		if i%50 == 25 {
			ntp := uint64(i*20)<<32/1000 + 1<<60
			v.Report(signaling.SenderReport{NTP: ntp, RTP: uint32(i) * 1800}, at)
			a.Report(signaling.SenderReport{NTP: ntp, RTP: uint32(i) * 960}, at)
		}
	}
	if want := time.Second + 499*20*ms; last < want-ms || last > want+ms {
		t.Errorf("the last frame is at %v, want %v", last, want)
	}
}
