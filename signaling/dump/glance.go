package dump

import (
	"errors"
	"fmt"
	"io"

	"github.com/roomtape/roomtape/media"
)

// ErrUnforeseen means that a dump that was only glanced at (Config.Glance) holds
// something else than its beginning promised. Nothing is wrong with it; opened
// without Glance it gives its events.
var ErrUnforeseen = errors.New("the dump is not what its beginning promised")

// glanceRecords is how many records of a file a glance takes in: enough for all
// evidence of one payload type.
const glanceRecords = 2 * sampled

// glances tells whether a glance at the file is enough for now.
func (c *Config) glances(src source, f io.Reader) bool {
	_, janus := src.(*mjr)
	_, copied := f.(*spool) // which needs all of it
	return c.Glance && janus && !copied && c.SRTPKey == nil
}

// foreseeable tells, of what has been decided, whether nothing in the rest of the
// files could change it: each file is one track of one payload type, and no two
// are of one kind. Whatever else comes is an ErrUnforeseen.
func (v *survey) foreseeable() bool {
	if len(v.ignored) > 0 || len(v.streams) != len(v.files) {
		return false
	}
	kinds := map[media.Kind]bool{}
	for i, s := range v.streams {
		if s.file != i || s.kind == media.KindUnknown || kinds[s.kind] || len(s.payloads) != 1 || v.files[i].damage != nil {
			return false
		}
		kinds[s.kind] = true
	}
	return true
}

// glanced makes the streams of files that were only glanced at ready for the
// second pass, which counts their packets.
func (v *survey) glanced() {
	for _, s := range v.streams {
		if v.files[s.file].partial {
			s.partial = true
			s.packets, s.main.packets, s.span, s.ticks = 0, 0, 0, 0
			s.last = s.first
		}
	}
}

// ended tells whether all packets of the stream have been read.
func (s *stream) ended() bool { return !s.partial && s.play.packets >= s.packets }

// foresaw counts f's datagram, of a file that was glanced at, or tells that it is
// none that was to be expected.
func (r *replay) foresaw(f *feed) error {
	s := r.v.streams[f.number]
	p := &r.v.packet
	if f.d.other != "" || classify(f.d.data) != isRTP || len(f.d.data) > media.MaxPacketSize || p.Unmarshal(f.d.data) != nil ||
		p.SSRC != s.key.ssrc || p.PayloadType != s.main.pt || f.d.at.Before(s.first) {
		return unforeseen(f)
	}
	if s.packets == 0 {
		s.timestamp = p.Timestamp
	}
	s.ticks += steady(p.Timestamp - s.timestamp)
	s.span = max(s.span, s.ticks)
	s.timestamp = p.Timestamp
	s.packets++
	s.main.packets++
	s.last = later(s.last, f.d.at)
	r.v.end = later(r.v.end, f.d.at)
	return nil
}

// foreseen notes that a file that was glanced at has come to its end, with
// damage or without.
func (r *replay) foreseen(f *feed, damage error) error {
	r.v.streams[f.number].partial = false
	if damage != nil {
		f.facts.Damage, f.facts.damage = damage.Error(), damage
	}
	if r.v.timeless(f.number) != f.facts.rtpTime {
		return unforeseen(f)
	}
	return nil
}

func unforeseen(f *feed) error { return fmt.Errorf("%s: %w", f.facts.Name, ErrUnforeseen) }
