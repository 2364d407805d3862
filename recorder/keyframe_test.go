package recorder

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/roomtape/roomtape/signaling"
)

// answering makes a video track whose sender keeps what it has sent.
func answering(room *script) (*signaling.Track, *feedback) {
	f := &feedback{room: room, nacks: map[uint16]int{}}
	in := videoTrack(f)
	in.Retransmits = true
	return in, f
}

func wantKeyframes(t *testing.T, room *script, f *feedback, want ...time.Duration) {
	t.Helper()
	if _, err := run(t, config(newMemory()), room); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, f.keyframes); diff != "" {
		t.Errorf("keyframes asked for (-want +got):\n%s", diff)
	}
}

// TestNoKeyframeForALossThatIsMended: what comes within a second needs none.
func TestNoKeyframeForALossThatIsMended(t *testing.T) {
	room := &script{}
	in, f := answering(room)
	v := room.start(0, in)
	v.drop = func(seq uint16) bool { return seq == 65500+20 }
	v.video(ms(10), ms(2000))
	late := *v
	late.drop, late.seq, late.rtp = nil, 65520, v.rtp-3600*40
	late.raw(ms(1300), 65520, false, vp8Payload(10, true, false, 0, 0, 250))
	wantKeyframes(t, room, f, 0)
}

// TestAKeyframeIsAskedForWhenAnOutageIsOver: the sender has not kept what it
// sent two seconds ago, so there is no use in waiting until that is certain. No
// other is asked for while the one that comes waits for what is missing.
func TestAKeyframeIsAskedForWhenAnOutageIsOver(t *testing.T) {
	room := &script{}
	in, f := answering(room)
	v := room.start(0, in)
	v.drop = func(seq uint16) bool { return int16(seq-65500) >= 50 && int16(seq-65500) < 150 }
	v.video(ms(10), ms(3130)) // frames 25 to 74 are lost
	v.drop = nil
	v.frame(ms(3130), true)
	v.rtp += 3600
	for at := ms(3170); at < ms(8000); at += ms(40) {
		v.frame(at, false)
		v.rtp += 3600
	}
	wantKeyframes(t, room, f, 0, ms(3010))
}

// TestAKeyframeIsAskedForAgainWhenItDoesNotCome, with back-off.
func TestAKeyframeIsAskedForAgainWhenItDoesNotCome(t *testing.T) {
	room := &script{}
	in, f := answering(room)
	v := room.start(0, in)
	v.drop = func(seq uint16) bool { return int16(seq-65500) >= 50 && int16(seq-65500) < 150 }
	v.video(ms(10), ms(6000))
	wantKeyframes(t, room, f, 0, ms(3010), ms(3210), ms(3610), ms(4410))
}

// TestNoKeyframeForAFrameThatNothingRefersTo: it is lost for good, and breaks
// nothing.
func TestNoKeyframeForAFrameThatNothingRefersTo(t *testing.T) {
	room := &script{}
	in, f := answering(room)
	v := room.start(0, in)
	tl0 := byte(0)
	for i := range 100 {
		at := ms(10 + 40*i)
		tid := byte(i % 2)
		if tid == 0 {
			tl0++
		}
		// X, S; I, L, T; PictureID of 15 bits, TL0PICIDX, TID and Y
		descriptor := []byte{0x90, 0xe0, 0x80, byte(i), tl0, tid<<6 | tid<<5}
		if tid == 1 {
			descriptor[0] |= 0x20 // N
		}
		frame := vp8Payload(0, true, i == 0, 640, 480, 100)[4:]
		if i == 31 { // of the upper layer
			v.seq++
		} else {
			v.raw(at, v.seq, true, append(descriptor, frame...))
			v.seq++
		}
		v.rtp += 3600
	}
	wantKeyframes(t, room, f, 0)
}
