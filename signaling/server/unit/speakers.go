package unit

import (
	"slices"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/peer"
)

const (
	// Somebody whose sound is louder than loud, in -dBov (RFC 6464 §3) and smoothed
	// over volumeOver packets, speaks, and goes on for pause after that.
	loud, silent = 45.0, 127.0
	volumeOver   = 5
	pause        = time.Second
)

// volume is how loud a publication is, by what its packets say. It is guarded by the
// publication's lock.
type volume struct {
	began bool
	level float64   // -dBov
	spoke time.Time // when it was loud last
}

// take takes the level of a packet, from 0, the loudest, to 127.
func (v *volume) take(level byte, at time.Time) {
	if !v.began {
		v.began, v.level = true, silent
	}
	v.level += (float64(level) - v.level) / volumeOver
	if v.level < loud {
		v.spoke = at
	}
}

// hear takes what a packet says of how loud it is, and gives it as it is to be passed
// on; nil: it says nothing. It is called locked.
func (p *publication) hear(t *signaling.Track, packet *media.Packet) []byte {
	id := peer.AudioLevel(t)
	if p.kind != media.Audio || id == 0 {
		return nil
	}
	b := packet.Extension(id)
	if len(b) == 0 {
		return nil
	}
	p.volume.take(b[0]&0x7f, packet.Arrival)
	return b[:1]
}

// speaks tells whether it is loud, or was a moment ago.
func (p *publication) speaks(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.volume.spoke.IsZero() && now.Sub(p.volume.spoke) < pause
}

// speak tells the room when the client has begun to speak, or has ended. It is called
// locked, with the room's lock.
func (c *Client) speak(now time.Time) {
	speaking := false
	for _, p := range c.published {
		speaking = speaking || p.speaks(now)
	}
	if c.speaking == speaking || c.room.clients[c.id] != c {
		return
	}
	c.speaking = speaking
	c.room.broadcast(c.room.speakers(), nil)
}

// speakers names those who speak. It is called locked.
func (r *Room) speakers() message.Message {
	ids := []string{}
	for id, c := range r.clients {
		if c.speaking {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return message.Message{Type: message.Speakers, Speakers: ids}
}
