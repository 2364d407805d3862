//go:build integration

package recorder

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
)

// speech makes two seconds of a tone with a second of silence in it, as Opus
// packets.
func speech(t *testing.T, args ...string) (packets [][]byte) {
	t.Helper()
	b := encode(t, "matroska", append([]string{
		"-f", "lavfi", "-i", "sine=300:d=2,volume='between(t,0.5,1.5)-1':eval=frame", "-c:a", "libopus", "-b:a", "32k",
	}, args...)...)
	for _, w := range readBack(t, b) {
		packets = append(packets, []byte(w.data))
	}
	if len(packets) < 10 {
		t.Fatalf("%d packets", len(packets))
	}
	return packets
}

// TestOpusOfAllKinds sends Opus that turns stereo and mono, and changes how long
// its packets are, in one track. All of it decodes, and lasts as long as it did.
func TestOpusOfAllKinds(t *testing.T) {
	room := &script{}
	s := room.start(0, &signaling.Track{
		Participant: "a", Connection: 1, SSRC: 7, Kind: media.Audio, Codecs: map[uint8]media.Codec{111: media.Opus},
	})
	at, packets := time.Duration(0), 0
	for _, c := range []struct {
		step time.Duration
		args []string
	}{
		{20 * time.Millisecond, []string{"-ac", "1"}},
		{20 * time.Millisecond, []string{"-ac", "2", "-b:a", "128k"}},
		{60 * time.Millisecond, []string{"-ac", "1", "-frame_duration", "60", "-application", "voip"}},
		{2500 * time.Microsecond, []string{"-ac", "2", "-frame_duration", "2.5", "-application", "lowdelay"}},
		{5 * time.Millisecond, []string{"-ac", "1", "-frame_duration", "5"}},
		{10 * time.Millisecond, []string{"-ac", "1", "-frame_duration", "10", "-vbr", "off"}},
		{40 * time.Millisecond, []string{"-ac", "2", "-frame_duration", "40", "-vbr", "constrained"}},
		{120 * time.Millisecond, []string{"-ac", "1", "-frame_duration", "120"}},
		{20 * time.Millisecond, []string{"-ac", "1", "-fec", "1", "-packet_loss", "20", "-application", "voip"}},
	} {
		for _, p := range speech(t, c.args...) {
			s.packet(at+c.step, false, p)
			s.rtp += uint32(c.step * 48 / time.Millisecond)
			at += c.step
			packets++
		}
	}
	files, m := record(t, room)
	if len(files) != 1 {
		t.Fatalf("%d files", len(files))
	}
	tr := m.Files[0].Tracks[0]
	if tr.Frames.Written != int64(packets) || len(tr.Gaps) > 0 {
		t.Errorf("%d of %d packets: %+v", tr.Frames.Written, packets, tr)
	}
	inspected(t, files[0])
	if d := decodedFor(t, files[0]); (d - at).Abs() > 10*time.Millisecond {
		t.Errorf("decoded for %v, sent for %v", d, at)
	}
}

// TestDTXLeavesGapsOfTheirLength sends silence as DTX does: a packet of one or
// two bytes every 400 ms.
func TestDTXLeavesGapsOfTheirLength(t *testing.T) {
	const step = 20 * time.Millisecond
	room := &script{}
	s := room.start(0, &signaling.Track{
		Participant: "a", Connection: 1, SSRC: 7, Kind: media.Audio, Codecs: map[uint8]media.Codec{111: media.Opus},
	})
	first, sent := s.rtp, []time.Duration{}
	for i, p := range speech(t, "-ac", "1", "-application", "voip") {
		at := time.Duration(i) * step
		s.rtp = first + uint32(i)*960
		if at >= 500*time.Millisecond && at < 1500*time.Millisecond {
			if i%20 != 5 {
				continue
			}
			p = append(p[:1:1], make([]byte, len(sent)%2)...)
		}
		s.packet(at+step, false, p)
		sent = append(sent, at)
	}
	files, m := record(t, room)
	inspected(t, files[0])
	if tr := m.Files[0].Tracks[0]; tr.Packets.Lost > 0 || tr.Frames.Written != int64(len(sent)) || len(tr.Gaps) > 0 {
		t.Errorf("%+v of %d packets", tr, len(sent))
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	frames := readBack(t, b)
	for i, w := range frames {
		if off := w.at - frames[0].at - sent[i]; off.Abs() > time.Millisecond {
			t.Errorf("packet %d is %v off", i, off)
		}
	}
}

// decodedFor tells how much sound a file decodes to, without a line.
func decodedFor(t *testing.T, path string) time.Duration {
	t.Helper()
	cmd := exec.Command("ffmpeg", "-v", "error", "-i", path, "-ac", "1", "-ar", "48000", "-f", "s16le", "-")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil || errs.Len() > 0 {
		t.Errorf("ffmpeg: %v\n%s", err, &errs)
	}
	return time.Duration(len(out)/2) * time.Second / 48000
}
