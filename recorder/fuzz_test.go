package recorder

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
)

// FuzzSession lets anything happen in a room, in any order: nothing may panic or
// hang, and the accounts must close.
func FuzzSession(f *testing.F) {
	f.Add([]byte{0x20, 1, 0x00, 0, 0x21, 5, 0x40, 20, 0x41, 20, 0x48, 20, 0x40, 200, 0x61, 9, 0x31, 1, 0x10, 0})
	f.Add([]byte{0, 1, 0x22, 3, 0x42, 20, 0x4a, 20, 0x52, 255, 0x62, 5, 0x32, 8, 0x23, 1, 0x43, 2})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 2000 {
			return
		}
		room := &script{}
		at := time.Duration(0)
		tracks := make([]*signaling.Track, 8)
		seqs := make([]uint16, 8)
		for ; len(data) >= 2; data = data[2:] {
			op, arg := data[0]>>4, data[0]&0x0f
			at += ms(int(data[1]) * int(data[1]) / 16)
			n := int(arg & 7)
			id := string(rune('a' + n%3))
			ev := signaling.Event{Time: t0.Add(at), Participant: id, Track: tracks[n]}
			switch op {
			case 0:
				ev.Kind = signaling.Joined
			case 1:
				ev.Kind = signaling.Left
			case 2:
				tracks[n] = &signaling.Track{
					Participant: id, Stream: string(rune('s' + n/4)), Connection: n % 2, SSRC: uint32(n),
					Kind:   media.Kind(1 + n%2),
					Codecs: map[uint8]media.Codec{96: media.VP8, 98: media.VP9, 111: media.Opus, 97: media.H264},
				}
				if arg&8 != 0 {
					tracks[n].Retransmits = true
					tracks[n].Feedback = &feedback{room: room, nacks: map[uint16]int{}}
				}
				ev.Kind, ev.Track = signaling.TrackStarted, tracks[n]
			case 3:
				ev.Kind = signaling.TrackEnded
			case 6:
				ev.Kind = signaling.Reported
				ev.Report = signaling.SenderReport{NTP: uint64(data[1]) << 40, RTP: uint32(data[1]) << 12}
			default:
				// 4: the next packet; 5: one further on; 7: a keyframe of
				// another size; others: whatever stands in the input.
				pt, payload := uint8(111), append([]byte{0xfc}, data...)
				if n%2 == 1 {
					pt, payload = 96, vp8Payload(seqs[n], true, op == 7 || seqs[n]%8 == 0, 64*int(op), 48, 20)
				}
				switch op {
				case 5:
					seqs[n] += uint16(data[1])
				case 8:
					pt, payload = 98, vp9Key
				case 9:
					seqs[n] = binary.BigEndian.Uint16(data)
				case 10:
					payload = data
				}
				p, err := media.NewPacket(rtp(pt, seqs[n], uint32(seqs[n])*960, uint32(n), true, payload), ev.Time)
				if err != nil {
					return
				}
				seqs[n]++
				ev.Kind, ev.Packet = signaling.PacketArrived, p
			}
			room.events = append(room.events, ev)
		}
		room.end = t0.Add(at)
		cfg := config(newMemory())
		cfg.NewFileOnChange = len(room.events)%2 == 0
		cfg.UntilEmpty = time.Minute
		_, _ = run(t, cfg, room)
	})
}
