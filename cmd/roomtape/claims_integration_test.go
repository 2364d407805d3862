//go:build integration

package main

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/dump"
)

// claims is what the sender of a track has said of its clock, as a recorder's
// dump has it: what is asked of a recorder is to place frames so, and what the
// sender itself is wrong about is not its fault.
type claims struct {
	stamps  map[string]stamped // by the end of what the last packet of a frame carries
	samples []claim            // in the order of their arrival
	first   uint32
	rate    time.Duration
}

// stamped is a frame's timestamp, as time since the first, and when it arrived.
type stamped struct {
	media time.Duration
	at    time.Time
}

// claim says that a timestamp was an instant of the sender's wall clock.
type claim struct {
	media time.Duration
	wall  time.Time
}

// tail is how much of a frame's end tells it from all others.
const tail = 24

// readClaims reads a recorder's dump of a participant with one track of each kind.
func readClaims(t *testing.T, file string) map[media.Kind]*claims {
	t.Helper()
	room, err := dump.Open(t.Context(), []string{file}, dump.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer room.Close()
	all := map[media.Kind]*claims{}
	for {
		e, err := room.Next(t.Context(), time.Time{})
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind != signaling.PacketArrived && e.Kind != signaling.Reported {
			continue
		}
		c := all[e.Track.Kind]
		if c == nil {
			c = &claims{stamps: map[string]stamped{}, rate: 90000}
			if e.Track.Kind == media.Audio {
				c.rate = 48000
			}
			c.first = e.Report.RTP
			if e.Packet != nil {
				c.first = e.Packet.Timestamp
			}
			all[e.Track.Kind] = c
		}
		if e.Kind == signaling.Reported {
			// A browser's reports of sound are as late as the packet before them.
			if e.Track.Kind == media.Video {
				c.sample(e.Report.RTP, e.Report.NTP)
			}
			continue
		}
		p := e.Packet
		if b := p.Extension(e.Track.AbsCaptureTime); e.Track.AbsCaptureTime != 0 && len(b) >= 8 {
			c.sample(p.Timestamp, binary.BigEndian.Uint64(b))
		}
		if p.Marker || e.Track.Kind == media.Audio {
			for _, x := range carried(p, e.Track.RED[p.PayloadType]) {
				c.stamp(x.data, stamped{c.media(x.timestamp), e.Time})
			}
		}
		p.Release()
	}
}

// piece is what a packet carries of a frame, and the timestamp of that.
type piece struct {
	timestamp uint32
	data      []byte
}

// carried takes a packet apart, if it is one of RED (RFC 2198 §3).
func carried(p *media.Packet, red bool) []piece {
	b := p.Payload
	if !red {
		return []piece{{p.Timestamp, b}}
	}
	var list []piece
	var sizes []int
	for len(b) >= 4 && b[0]&0x80 != 0 {
		v := binary.BigEndian.Uint32(b)
		list, sizes = append(list, piece{timestamp: p.Timestamp - v>>10&0x3fff}), append(sizes, int(v&0x3ff))
		b = b[4:]
	}
	if len(b) == 0 {
		return nil
	}
	b = b[1:]
	for i, n := range sizes {
		n = min(n, len(b))
		list[i].data, b = b[:n], b[n:]
	}
	return append(list, piece{p.Timestamp, b})
}

// stamp notes what ends a frame; when it has been noted of another frame, it
// tells nothing.
func (c *claims) stamp(data []byte, s stamped) {
	if len(data) < tail {
		return
	}
	key := string(data[len(data)-tail:])
	if before, known := c.stamps[key]; !known {
		c.stamps[key] = s
	} else if before.media != s.media {
		c.stamps[key] = stamped{}
	}
}

func (c *claims) media(timestamp uint32) time.Duration {
	return time.Duration(int32(timestamp-c.first)) * time.Second / c.rate
}

func (c *claims) sample(timestamp uint32, ntp uint64) {
	const to1970 = 2208988800
	wall := time.Unix(int64(ntp>>32)-to1970, int64(ntp&0xffffffff)*1e9>>32)
	c.samples = append(c.samples, claim{c.media(timestamp), wall})
}

// wall gives when a frame was captured by the sender's wall clock: by the mean of
// what it has claimed within two seconds, since each claim is off by some
// milliseconds. Timestamps that have stood still since are told by the arrival.
func (c *claims) wall(s stamped) (time.Time, bool) {
	var sum time.Duration
	n := 0
	for _, x := range c.samples {
		wall := x.wall.Add(s.media - x.media)
		if (x.media-s.media).Abs() < 2*time.Second && s.at.Sub(wall).Abs() < time.Second {
			sum += wall.Sub(s.at)
			n++
		}
	}
	if n == 0 {
		return time.Time{}, false
	}
	return s.at.Add(sum / time.Duration(n)), true
}

// captured counts the frames that were, in a time of the sender's wall clock.
func (c *claims) captured(from, to time.Time) int {
	n := 0
	for _, s := range c.stamps {
		if wall, ok := c.wall(s); ok && wall.After(from) && wall.Before(to) {
			n++
		}
	}
	return n
}

// claimed is a frame of a file, and where its sender's wall clock has it.
type claimed struct {
	file time.Duration
	wall time.Time
}

// off is how much later than by the sender's wall clock the file has the frame,
// but for a constant.
func (c claimed) off(zero time.Time) time.Duration { return zero.Add(c.file).Sub(c.wall) }

// claimedFrames gives the frames of a kind in a file of which it is known.
func claimedFrames(t *testing.T, f io.Reader, kind media.Kind, c *claims, zero time.Time) []claimed {
	t.Helper()
	var frames []claimed
	r := webm.NewReader(f)
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return frames
		}
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(r.Tracks(), func(track webm.Track) bool { return track.Number == b.Track })
		if i < 0 || r.Tracks()[i].Codec.Kind() != kind || len(b.Data) < tail {
			continue
		}
		s := c.stamps[string(b.Data[len(b.Data)-tail:])]
		if zero.Add(b.Time).Sub(s.at).Abs() > 500*time.Millisecond {
			continue // another one that is the same, and was lost
		}
		if wall, ok := c.wall(s); ok {
			frames = append(frames, claimed{b.Time, wall})
		}
	}
}

// nearest gives the frame that is nearest to a time of the file.
func nearest(frames []claimed, at time.Duration) claimed {
	i, _ := slices.BinarySearchFunc(frames, at, func(f claimed, at time.Duration) int { return int(f.file - at) })
	if i == len(frames) || i > 0 && at-frames[i-1].file < frames[i].file-at {
		i--
	}
	return frames[i]
}
