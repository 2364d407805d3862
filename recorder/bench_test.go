package recorder

import (
	"context"
	"encoding/binary"
	"io"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/signaling"
)

// camera is a Room that sends VP8 of 2.5 Mbit/s, 30 frames a second in packets
// of 1200 bytes, and Opus, for a number of packets.
type camera struct {
	video, audio         *signaling.Track
	state                int
	left                 int
	at                   time.Time
	seq, audioSeq        uint16
	rtp, audioRTP        uint32
	inFrame, frame       int
	payload, opus        []byte
	nextFrame, nextAudio time.Time
}

const (
	packetsPerFrame = 9 // of 1158 bytes, 30 times a second: 2.5 Mbit/s
	keyEvery        = 300
)

func newCamera(packets int) *camera {
	c := &camera{
		video: &signaling.Track{Participant: "a", Stream: "s", ID: "v", Connection: 1, SSRC: 1, Kind: media.Video, Codecs: map[uint8]media.Codec{96: media.VP8}},
		audio: &signaling.Track{Participant: "a", Stream: "s", ID: "a", Connection: 1, SSRC: 2, Kind: media.Audio, Codecs: map[uint8]media.Codec{111: media.Opus}},
		left:  packets, at: t0, nextFrame: t0, nextAudio: t0,
	}
	c.payload = rtp(96, 0, 0, 1, false, make([]byte, 1158))
	c.opus = rtp(111, 0, 0, 2, true, append([]byte{0xfc}, make([]byte, 100)...))
	return c
}

func (c *camera) Close() error { return nil }

func (c *camera) Next(_ context.Context, deadline time.Time) (signaling.Event, error) {
	switch c.state {
	case 0, 1:
		c.state++
		in := c.video
		if c.state == 2 {
			in = c.audio
		}
		return signaling.Event{Kind: signaling.TrackStarted, Time: c.at, Track: in}, nil
	}
	if c.left == 0 {
		return signaling.Event{}, io.EOF
	}
	at, isAudio := c.nextFrame, false
	if c.nextAudio.Before(at) {
		at, isAudio = c.nextAudio, true
	}
	if !deadline.IsZero() && deadline.Before(at) {
		c.at = maxTime(c.at, deadline)
		return signaling.Event{Kind: signaling.Tick, Time: c.at}, nil
	}
	c.left--
	c.at = at
	if isAudio {
		c.nextAudio = c.nextAudio.Add(20 * time.Millisecond)
		c.audioSeq++
		c.audioRTP += 960
		binary.BigEndian.PutUint16(c.opus[2:], c.audioSeq)
		binary.BigEndian.PutUint32(c.opus[4:], c.audioRTP)
		p, err := media.NewPacket(c.opus, at)
		return signaling.Event{Kind: signaling.PacketArrived, Time: at, Track: c.audio, Packet: p}, err
	}
	b := c.payload
	c.seq++
	binary.BigEndian.PutUint16(b[2:], c.seq)
	binary.BigEndian.PutUint32(b[4:], c.rtp)
	b[1] = 96
	copy(b[12:], []byte{0x80, 0x80, 0x80 | byte(c.frame>>8)&0x7f, byte(c.frame)})
	if c.inFrame == 0 {
		b[12] |= 0x10
		copy(b[16:], []byte{0x31, 0, 0, 0, 0, 0, 0, 0, 0, 0})
		if c.frame%keyEvery == 0 {
			copy(b[16:], []byte{0x30, 0, 0, 0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02})
		}
	}
	if c.inFrame++; c.inFrame == packetsPerFrame {
		b[1] |= 0x80
		c.inFrame = 0
		c.frame++
		c.rtp += 3000
		c.nextFrame = c.nextFrame.Add(29 * time.Millisecond)
	} else {
		c.nextFrame = c.nextFrame.Add(500 * time.Microsecond)
	}
	p, err := media.NewPacket(b, at)
	return signaling.Event{Kind: signaling.PacketArrived, Time: at, Track: c.video, Packet: p}, err
}

// discarding is a Store that keeps nothing but counts.
type discarding struct{ bytes int64 }

type discardedFile struct {
	store *discarding
	name  string
}

func (d *discarding) Create(name, ext string) (output.File, error) {
	return discardedFile{d, name + ext}, nil
}
func (d *discarding) WriteFile(string, []byte) error           { return nil }
func (d *discarding) Open(string) (io.ReadCloser, error)       { return nil, io.EOF }
func (f discardedFile) Name() string                           { return f.name }
func (f discardedFile) Sync() error                            { return nil }
func (f discardedFile) Close() error                           { return nil }
func (f discardedFile) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
func (f discardedFile) Write(b []byte) (int, error) {
	f.store.bytes += int64(len(b))
	return len(b), nil
}

// BenchmarkSession takes one participant's packets all the way to WebM that is
// thrown away. BenchmarkCamera is what the making of the packets costs of it.
func BenchmarkSession(b *testing.B) {
	store := &discarding{}
	s, err := NewSession(Config{
		Store: store,
		NewMuxer: func(w io.Writer, o MuxerOptions) (output.Muxer, error) {
			return webm.NewWriter(w, webm.Config{Chunk: o.Chunk})
		},
		Ext: webm.Ext,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	if err := s.Run(context.Background(), newCamera(b.N+2*packetsPerFrame)); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(store.bytes)/float64(b.N), "B/packet")
}

func BenchmarkCamera(b *testing.B) {
	c := newCamera(b.N)
	b.ReportAllocs()
	for {
		ev, err := c.Next(context.Background(), time.Time{})
		if err != nil {
			return
		}
		if ev.Packet != nil {
			ev.Packet.Release()
		}
	}
}
