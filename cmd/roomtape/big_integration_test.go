//go:build integration

package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/netsim"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/dump"
)

// bigVariable says how large the dumps of TestBigDumps are, in GB.
const bigVariable = "ROOMTAPE_BIG_GB"

// longCall writes packets of a call of 2.5 Mbit/s until they are size bytes, and
// tells how many there were of video frames and of sound.
func longCall(size int64, send func(at time.Duration, video bool, rtp []byte) error) (frames, sounds int, err error) {
	const mtu, frameSize = 1160, 2_500_000 / 8 / 30
	var sent int64
	var seq [2]uint16
	packet := func(at time.Duration, kind int, timestamp uint32, marker byte, payload []byte) {
		p := []byte{0x80, []byte{111, 96}[kind] | marker}
		p = binary.BigEndian.AppendUint16(p, seq[kind])
		p = binary.BigEndian.AppendUint32(p, timestamp)
		p = append(binary.BigEndian.AppendUint32(p, uint32(kind+1)), payload...)
		seq[kind]++
		sent += int64(len(p))
		if err == nil {
			err = send(at, kind == 1, p)
		}
	}
	for ; sent < size && err == nil; sounds++ {
		at := time.Duration(sounds) * 20 * time.Millisecond
		packet(at, 0, uint32(sounds*960), 0, netsim.Frame(media.Opus, sounds, 100, true, 0, 0))
		for ; time.Duration(frames)*time.Second/30 < at+20*time.Millisecond; frames++ {
			frame := netsim.Frame(media.VP8, frames, frameSize, frames%300 == 0, 1280, 720)
			for from := 0; from < len(frame); from += mtu {
				to := min(from+mtu, len(frame))
				payload := []byte{0x80, 0x80, 0x80 | byte(frames>>8&0x7f), byte(frames)}
				if from == 0 {
					payload[0] |= 0x10
				}
				var marker byte
				if to == len(frame) {
					marker = 0x80
				}
				packet(max(at, time.Duration(frames)*time.Second/30), 1, uint32(frames*3000), marker, append(payload, frame[from:to]...))
			}
		}
	}
	return frames, sounds, err
}

// writePcap writes a long call as a capture.
func writePcap(w io.Writer, size int64) (frames, sounds int, err error) {
	head := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	head = append(head, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 101, 0, 0, 0)
	if _, err := w.Write(head); err != nil {
		return 0, 0, err
	}
	return longCall(size, func(at time.Duration, _ bool, rtp []byte) error {
		b := binary.LittleEndian.AppendUint32(nil, 1_700_000_000+uint32(at/time.Second))
		b = binary.LittleEndian.AppendUint32(b, uint32(at%time.Second/time.Microsecond))
		b = binary.LittleEndian.AppendUint32(b, uint32(28+len(rtp)))
		b = binary.LittleEndian.AppendUint32(b, uint32(28+len(rtp)))
		b = binary.BigEndian.AppendUint16(append(b, 0x45, 0), uint16(28+len(rtp)))
		b = append(b, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x13, 0x88, 0x13, 0x88)
		b = binary.BigEndian.AppendUint16(b, uint16(8+len(rtp)))
		_, err := w.Write(append(append(b, 0, 0), rtp...))
		return err
	})
}

// writeOwn writes a long call as record --dump-rtp does.
func writeOwn(w io.Writer, size int64) (frames, sounds int, err error) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	d, err := dump.NewWriter(w, dump.WriterConfig{Session: dump.SessionInfo{Room: "big", Start: begin}})
	if err != nil {
		return 0, 0, err
	}
	tracks := map[bool]*signaling.Track{
		false: {Participant: "alice", Connection: 1, SSRC: 1, Kind: media.Audio, Codecs: map[uint8]media.Codec{111: media.Opus}},
		true:  {Participant: "alice", Connection: 1, SSRC: 2, Kind: media.Video, Codecs: map[uint8]media.Codec{96: media.VP8}},
	}
	events := []signaling.Event{
		{Kind: signaling.Joined, Time: begin, Participant: "alice"},
		{Kind: signaling.TrackStarted, Time: begin, Track: tracks[false]}, {Kind: signaling.TrackStarted, Time: begin, Track: tracks[true]},
	}
	for _, e := range events {
		if err := d.Write(e); err != nil {
			return 0, 0, err
		}
	}
	frames, sounds, err = longCall(size, func(at time.Duration, video bool, rtp []byte) error {
		p, err := media.NewPacket(rtp, begin.Add(at))
		if err != nil {
			return err
		}
		defer p.Release()
		return d.Write(signaling.Event{Kind: signaling.PacketArrived, Time: p.Arrival, Track: tracks[video], Packet: p})
	})
	if err == nil {
		err = d.Close()
	}
	return frames, sounds, err
}

// replayBig replays a dump while it is written, and gives the most memory that
// took, in bytes. Nothing is kept.
func replayBig(t *testing.T, program string, size int64, write func(io.Writer, int64) (int, int, error)) int64 {
	t.Helper()
	dir := t.TempDir()
	c := exec.CommandContext(t.Context(), program, "replay", "--log-level", "error", "--json", "--session", "s", "--out", dir, "-")
	c.Env = append(os.Environ(), "TMPDIR="+dir)
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var frames, sounds int
	written := make(chan error, 1)
	go func() {
		w := bufio.NewWriterSize(in, 1<<20)
		var err error
		if frames, sounds, err = write(w, size); err == nil {
			err = w.Flush()
		}
		_ = in.Close() // which ends the dump
		written <- err
	}()
	done := make(chan error, 1)
	go func() {
		err := <-written
		if failed := c.Wait(); failed != nil {
			err = failed
		}
		done <- err
	}()
	var kilobytes int64
	for status := fmt.Sprintf("/proc/%d/status", c.Process.Pid); ; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("%v\n%s", err, &errs)
			}
			var r replayed
			if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
				t.Fatal(err)
			}
			var got [2]int64
			var bytes int64
			for _, f := range r.Files {
				bytes += f.Bytes
				for _, tr := range f.Tracks {
					got[map[string]int{"video": 0, "audio": 1}[tr.Kind]] += tr.Frames.Written
				}
			}
			if got != [2]int64{int64(frames), int64(sounds)} {
				t.Errorf("%d frames are written of %d and %d", got, frames, sounds)
			}
			t.Logf("%.1f GB of RTP, %v of a call: %d bytes written in %v with %.1f MB of memory",
				float64(size)/1e9, time.Duration(sounds)*20*time.Millisecond, bytes, time.Since(begin).Round(time.Second), float64(kilobytes)/1e3)
			return kilobytes << 10
		case <-time.After(20 * time.Millisecond):
		}
		text, _ := os.ReadFile(status) // it may have ended
		if _, rest, ok := strings.Cut(string(text), "VmHWM:"); ok {
			_, _ = fmt.Sscan(rest, &kilobytes)
		}
	}
}

// A dump of any size takes the same memory: our own while it comes through a
// pipe, and a capture that is copied for the second pass.
func TestBigDumps(t *testing.T) {
	gigabytes, err := strconv.ParseFloat(os.Getenv(bigVariable), 64)
	if err != nil || gigabytes < 1 {
		t.Skipf("%s does not say how many GB (1 and more; three times that is needed on disk)", bigVariable)
	}
	program := filepath.Join(t.TempDir(), "roomtape")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, write := range map[string]func(io.Writer, int64) (int, int, error){"own": writeOwn, "pcap": writePcap} {
		t.Run(name, func(t *testing.T) {
			small := replayBig(t, program, 3e8, write)
			big := replayBig(t, program, int64(gigabytes*1e9), write)
			if big > 30e6 || big > small+8e6 {
				t.Errorf("a large dump takes %d bytes of memory, a small one %d", big, small)
			}
		})
	}
}
