//go:build integration

package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/netsim"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/dump"
)

// callLength is how long the generated call is.
const callLength = 10 * time.Minute

// makeCall writes a call of 2.5 Mbit/s VP8 and Opus without loss, as a dump of
// ours and as the two files that Janus would have recorded.
func makeCall(b *testing.B, dir string) (ours, video, audio string) {
	b.Helper()
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	file := func(name string) (string, *bufio.Writer) {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			b.Fatal(err)
		}
		w := bufio.NewWriterSize(f, 1<<20)
		b.Cleanup(func() { _ = f.Close() })
		return f.Name(), w
	}
	ours, w := file("call.pcapng")
	d, err := dump.NewWriter(w, dump.WriterConfig{Session: dump.SessionInfo{Room: "bench", Start: begin}})
	if err != nil {
		b.Fatal(err)
	}
	type sender struct {
		track *signaling.Track
		pt    uint8
		seq   uint16
		mjr   *bufio.Writer
	}
	senders := [2]*sender{
		{track: &signaling.Track{Kind: media.Video, Codecs: map[uint8]media.Codec{96: media.VP8}}, pt: 96},
		{track: &signaling.Track{Kind: media.Audio, Codecs: map[uint8]media.Codec{111: media.Opus}}, pt: 111},
	}
	video, senders[0].mjr = file("video.mjr")
	audio, senders[1].mjr = file("audio.mjr")
	check := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	check(d.Write(signaling.Event{Kind: signaling.Joined, Time: begin, Participant: "alice"}))
	for i, s := range senders {
		s.track.Participant, s.track.Stream, s.track.Connection, s.track.SSRC = "alice", "cam", 1, uint32(i+1)
		check(d.Write(signaling.Event{Kind: signaling.TrackStarted, Time: begin, Track: s.track}))
		header := fmt.Sprintf(`{"t":%q,"c":%q,"s":%d,"u":%d}`, []string{"v", "a"}[i], []string{"vp8", "opus"}[i], begin.UnixMicro(), begin.UnixMicro())
		_, _ = s.mjr.WriteString("MJR00002")
		_, _ = s.mjr.Write(binary.BigEndian.AppendUint16(nil, uint16(len(header))))
		_, _ = s.mjr.WriteString(header)
	}
	send := func(s *sender, at time.Duration, timestamp uint32, marker bool, payload []byte) {
		p := []byte{0x80, s.pt}
		if marker {
			p[1] |= 0x80
		}
		p = binary.BigEndian.AppendUint16(p, s.seq)
		p = binary.BigEndian.AppendUint32(p, timestamp)
		p = append(binary.BigEndian.AppendUint32(p, s.track.SSRC), payload...)
		s.seq++
		_, _ = s.mjr.WriteString("MEET")
		_, _ = s.mjr.Write(binary.BigEndian.AppendUint32(nil, uint32(at.Milliseconds())))
		_, _ = s.mjr.Write(binary.BigEndian.AppendUint16(nil, uint16(len(p))))
		_, _ = s.mjr.Write(p)
		packet, err := media.NewPacket(p, begin.Add(at))
		check(err)
		check(d.Write(signaling.Event{Kind: signaling.PacketArrived, Time: packet.Arrival, Track: s.track, Packet: packet}))
		packet.Release()
	}
	const mtu, frameSize = 1160, 2_500_000 / 8 / 30
	n := 0
	for at := time.Duration(0); at < callLength; at += 20 * time.Millisecond {
		send(senders[1], at, uint32(at/time.Millisecond*48), false, netsim.Frame(media.Opus, int(at/time.Millisecond), 100, true, 0, 0))
		for ; time.Duration(n)*time.Second/30 < at+20*time.Millisecond; n++ {
			when := time.Duration(n) * time.Second / 30
			frame := netsim.Frame(media.VP8, n, frameSize, n%300 == 0, 1280, 720)
			for from := 0; from < len(frame); from += mtu {
				to := min(from+mtu, len(frame))
				descriptor := []byte{0x80, 0x80, 0x80 | byte(n>>8&0x7f), byte(n)}
				if from == 0 {
					descriptor[0] |= 0x10
				}
				send(senders[0], max(at, when), uint32(n*3000), to == len(frame), append(descriptor, frame[from:to]...))
			}
		}
	}
	check(d.Close())
	for _, w := range []*bufio.Writer{w, senders[0].mjr, senders[1].mjr} {
		check(w.Flush())
	}
	return ours, video, audio
}

// cost is the user and system time that a program took.
func cost(b *testing.B, name string, args ...string) time.Duration {
	b.Helper()
	c := exec.CommandContext(b.Context(), name, args...)
	if out, err := c.CombinedOutput(); err != nil {
		b.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return c.ProcessState.UserTime() + c.ProcessState.SystemTime()
}

// peak is the most memory that a program had, in bytes. What the system says at
// the end would count our own before exec; looking costs the program time.
func peak(b *testing.B, name string, args ...string) int64 {
	b.Helper()
	c := exec.CommandContext(b.Context(), name, args...)
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	var kilobytes int64
	for status := fmt.Sprintf("/proc/%d/status", c.Process.Pid); ; {
		select {
		case err := <-done:
			if err != nil {
				b.Fatalf("%s %v: %v", name, args, err)
			}
			return kilobytes << 10
		case <-time.After(2 * time.Millisecond):
		}
		text, _ := os.ReadFile(status) // it may have ended
		if _, rest, ok := strings.Cut(string(text), "VmHWM:"); ok {
			_, _ = fmt.Sscan(rest, &kilobytes)
		}
	}
}

// BenchmarkReplay compares the replay of a call of ten minutes with what Janus'
// converter takes for the same packets, and mkvmerge to copy the result.
func BenchmarkReplay(b *testing.B) {
	for _, program := range []string{"janus-pp-rec", "mkvmerge"} {
		if _, err := exec.LookPath(program); err != nil {
			b.Skipf("there is no %s here", program)
		}
	}
	dir := b.TempDir()
	program := filepath.Join(dir, "roomtape")
	if out, err := exec.CommandContext(b.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	ours, video, audio := makeCall(b, dir)
	var replay, janus, mjr, merge time.Duration
	memory := max(
		peak(b, program, "replay", "--log-level", "error", "--out", b.TempDir(), ours),
		peak(b, program, "replay", "--log-level", "error", "--out", b.TempDir(), video, audio))
	for b.Loop() {
		out := b.TempDir()
		replay += cost(b, program, "replay", "--log-level", "error", "--out", out, "--name", "ours", ours)
		mjr += cost(b, program, "replay", "--log-level", "error", "--out", out, "--name", "mjr", video, audio)
		for i, f := range []string{video, audio} {
			janus += cost(b, "janus-pp-rec", f, filepath.Join(out, []string{"v.webm", "a.opus"}[i]))
		}
		merge += cost(b, "mkvmerge", "-q", "-o", filepath.Join(out, "copy.webm"), filepath.Join(out, "ours.webm"))
		_ = os.RemoveAll(out) // memory that the system has not used before is dear
	}
	n := float64(b.N)
	b.ReportMetric(replay.Seconds()/n, "replay-CPU-s")
	b.ReportMetric(mjr.Seconds()/n, "replay-mjr-CPU-s")
	b.ReportMetric(janus.Seconds()/n, "janus-CPU-s")
	b.ReportMetric(merge.Seconds()/n, "mkvmerge-CPU-s")
	b.ReportMetric(callLength.Seconds()*n/replay.Seconds(), "x-real-time")
	b.ReportMetric(float64(memory)/1e6, "peak-MB")
}
