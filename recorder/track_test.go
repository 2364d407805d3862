package recorder

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
)

func videoTrack(f signaling.Feedback) *signaling.Track {
	return &signaling.Track{Participant: "a", Stream: "s", ID: "v", Connection: 1, SSRC: 1, Kind: media.Video, Feedback: f}
}

func audioTrack() *signaling.Track {
	return &signaling.Track{Participant: "a", Stream: "s", ID: "a", Connection: 1, SSRC: 2, Kind: media.Audio}
}

func TestKeyframeIsAskedForAtOnceAndUntilItComes(t *testing.T) {
	room := &script{end: t0.Add(40 * time.Second)}
	f := &feedback{room: room}
	v := room.start(ms(1000), videoTrack(f))
	// Frames come, but no keyframe until 2.5 s.
	for at := ms(1100); at < ms(2500); at += ms(40) {
		v.frame(at, false)
		v.rtp += 3600
	}
	v.video(ms(2500), ms(30000))
	if _, err := run(t, config(newMemory()), room); err != nil {
		t.Fatal(err)
	}
	want := []time.Duration{ms(1000), ms(1200), ms(1600), ms(2400), ms(12501), ms(22501), ms(32501)}
	if diff := cmp.Diff(want, f.keyframes); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestMutedVideoIsNotAskedForEver(t *testing.T) {
	room := &script{end: t0.Add(time.Hour)}
	f := &feedback{room: room}
	v := room.start(0, videoTrack(f))
	v.frame(30*time.Minute, false)
	_, _ = run(t, config(newMemory()), room)
	if n := len(f.keyframes); n > 2*(unheardRequests+1) {
		t.Errorf("%d requests", n)
	}
	if !slices.Contains(f.keyframes, 30*time.Minute) {
		t.Errorf("nothing asked for when the first packet came: %v", f.keyframes)
	}
}

func TestLostPacketsAreAskedForAndThenGivenUp(t *testing.T) {
	room := &script{}
	f := &feedback{room: room, nacks: map[uint16]int{}}
	in := videoTrack(f)
	in.Retransmits = true
	v := room.start(0, in)
	v.drop = func(seq uint16) bool { return seq == 65500+20 } // the 11th frame
	v.video(ms(10), ms(1000))
	v.drop = nil
	v.frame(ms(1000), true)
	v.rtp += 3600
	for at := ms(1040); at < ms(6000); at += ms(40) {
		v.frame(at, false)
		v.rtp += 3600
	}
	m := newMemory()
	s, err := run(t, config(m), room)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.nacks) != 1 || f.nacks[65520] < 3 {
		t.Errorf("requests for packets: %v", f.nacks)
	}
	tr := s.Manifest().Files[0].Tracks[0]
	if tr.Packets.Lost != 1 || tr.Frames.Dropped != 15 || tr.Frames.Written != 10+125 {
		t.Errorf("packets %+v, frames %+v", tr.Packets, tr.Frames)
	}
	want := []Gap{{AtMS: 400, DurationMS: 590, Packets: 1, Frames: 15, Reason: GapLoss}}
	if diff := cmp.Diff(want, tr.Gaps); diff != "" {
		t.Errorf("gaps (-want +got):\n%s", diff)
	}
	// The keyframe that ends the trouble has come before the loss is certain.
	if len(f.keyframes) != 1 {
		t.Errorf("keyframes asked for at %v", f.keyframes)
	}
}

func TestRetransmittedPacketFillsItsPlace(t *testing.T) {
	room := &script{}
	f := &feedback{room: room, nacks: map[uint16]int{}}
	in := videoTrack(f)
	in.Retransmits = true
	v := room.start(0, in)
	v.video(ms(10), ms(4000))
	// The packet comes 2 s late, as a retransmission.
	for i := range room.events {
		e := &room.events[i]
		if e.Kind == signaling.PacketArrived && e.Packet.SequenceNumber == 65520 {
			late := *e
			room.events = append(room.events[:i], room.events[i+1:]...)
			late.Time = late.Time.Add(2 * time.Second)
			late.Packet.Arrival, late.Packet.Recovered = late.Time, true
			room.add(late)
			break
		}
	}
	s, err := run(t, config(newMemory()), room)
	if err != nil {
		t.Fatal(err)
	}
	tr := s.Manifest().Files[0].Tracks[0]
	if tr.Packets.Recovered != 1 || tr.Packets.Lost != 0 || tr.Frames.Written != 100 || len(tr.Gaps) > 0 {
		t.Errorf("%+v", tr)
	}
}

// TestParameterSetsThatComeLateOpenTheFile has the first packet lost, which has a
// keyframe's parameter sets alone, and sent again after the picture.
func TestParameterSetsThatComeLateOpenTheFile(t *testing.T) {
	room := &script{}
	f := &feedback{room: room, nacks: map[uint16]int{}}
	in := videoTrack(f)
	in.Retransmits = true
	v := room.start(0, in)
	v.pt = 97
	sets, first := v.seq, v.rtp
	v.seq++
	v.packet(ms(10), true, h264Key[21:]) // the picture of the keyframe
	for i := 1; i < 20; i++ {
		v.rtp += 90 * 40
		v.packet(ms(10+40*i), true, []byte{0x41, 0x9a, 0x24, 0x5a, byte(i)})
		if i == 3 {
			latest := v.rtp
			v.rtp = first
			v.raw(ms(11+40*i), sets, false, h264Key[:19])
			room.events[len(room.events)-1].Packet.Recovered = true
			v.rtp = latest
		}
	}
	s, err := run(t, config(newMemory()), room)
	if err != nil {
		t.Fatal(err)
	}
	tr := s.Manifest().Files[0].Tracks[0]
	if tr.Packets.Written != 21 || tr.Packets.Lost != 0 || tr.Frames.Written != 20 || tr.Frames.Key != 1 {
		t.Errorf("%+v", tr)
	}
}

func TestOnlyWhatIsAskedForIsRecorded(t *testing.T) {
	room, _, _ := call("alice", time.Second)
	b := room.start(ms(100), &signaling.Track{Participant: "a/bob", Stream: "s", Connection: 2, SSRC: 5, Kind: media.Audio})
	b.audio(ms(200), ms(1000))
	m := newMemory()
	cfg := config(m)
	cfg.Participants, cfg.Only = "a*b", media.Audio
	if _, err := run(t, cfg, room); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a%2Fbob.webm"}, m.order); diff != "" {
		t.Error(diff)
	}
}

func TestLimitsHold(t *testing.T) {
	room := &script{}
	long := string(make([]byte, MaxIDLength+1))
	room.joined(0, long)
	l := room.start(0, &signaling.Track{Participant: long, Connection: 1, Kind: media.Audio})
	l.audio(0, ms(100))
	for i := range MaxTracks + 5 {
		a := room.start(0, &signaling.Track{Participant: "a", Stream: string(rune('a' + i)), Connection: 1, SSRC: uint32(i), Kind: media.Audio})
		a.opus(ms(10))
	}
	m := newMemory()
	s, err := run(t, config(m), room)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.order) != MaxTracks || s.Manifest().Refused != 7 {
		t.Errorf("%d files, %d refused", len(m.order), s.Manifest().Refused)
	}
}

// TestAccountsCloseInBadWeather sends a call through a network that loses,
// doubles, delays and spoils packets; run checks the accounts.
func TestAccountsCloseInBadWeather(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		room, _, _ := call("alice", 8*time.Second)
		events := room.events
		room.events = nil
		var packets int64
		for _, e := range events {
			if e.Kind != signaling.PacketArrived {
				room.add(e)
				continue
			}
			spoil := func() {
				p := e.Packet
				q, err := media.NewPacket(rtp(p.PayloadType, p.SequenceNumber, p.Timestamp, p.SSRC, p.Marker, p.Payload), p.Arrival)
				if err != nil {
					t.Fatal(err)
				}
				switch rnd.IntN(8) {
				case 0:
					q.Payload = q.Payload[:0]
				case 1:
					q.Payload = q.Payload[:rnd.IntN(len(q.Payload)+1)]
				case 2:
					q.PayloadType = 0
				case 3:
					q.SequenceNumber = uint16(rnd.Uint32())
				}
				d := ms(rnd.IntN(30))
				if rnd.IntN(20) == 0 {
					d = ms(rnd.IntN(4000))
				}
				e.Time = t0.Add(max(e.Time.Sub(t0)+d, ms(150)))
				q.Arrival = e.Time
				e.Packet = q
				room.add(e)
				packets++
			}
			switch rnd.IntN(20) {
			case 0: // lost
			case 1:
				spoil()
				spoil()
			default:
				d := ms(rnd.IntN(10))
				e.Time = e.Time.Add(d)
				e.Packet.Arrival = e.Time
				room.add(e)
				packets++
			}
		}
		cfg := config(newMemory())
		cfg.NewFileOnChange = seed%2 == 0
		s, err := run(t, cfg, room)
		if err != nil {
			t.Fatal(err)
		}
		var received int64
		for _, f := range s.Manifest().Files {
			for _, tr := range f.Tracks {
				received += tr.Packets.Received
			}
		}
		for _, u := range s.Manifest().Unrecorded {
			received += u.Packets.Received
		}
		if received != packets {
			t.Errorf("seed %d: %d packets in the manifest, %d were sent", seed, received, packets)
		}
	}
}

// Telephone events and FEC share the media's sequence numbers, and may have a
// clock of their own (RFC 7160): where they are, nothing is missing.
func TestPacketsBesideTheMediaAreNotLost(t *testing.T) {
	for name, auxiliary := range map[string]map[uint8]string{"auxiliary": {101: "telephone-event"}, "payload_type": nil} {
		t.Run(name, func(t *testing.T) {
			room := &script{}
			room.joined(0, "a")
			s := room.start(0, &signaling.Track{Participant: "a", Stream: "s", Connection: 1, SSRC: 1, Kind: media.Audio, Auxiliary: auxiliary})
			beside := func(at time.Duration, n int) {
				media := s.rtp
				s.pt, s.rtp = 101, 77
				for i := range n {
					s.packet(at+ms(i), false, []byte{1, 10, 0, 160})
				}
				s.pt, s.rtp = 111, media
			}
			beside(ms(80), 3)
			s.audio(ms(100), ms(500))
			beside(ms(500), 10)
			s.seq++ // a packet is lost, beside one that is no media
			beside(ms(520), 1)
			s.rtp += 960
			s.audio(ms(520), ms(1000))
			beside(ms(1000), 2)
			s.seq += 2
			beside(ms(1020), 1)
			s.stop(ms(1100))
			m := newMemory()
			session, err := run(t, config(m), room)
			if err != nil {
				t.Fatal(err)
			}
			p := session.Manifest().Files[0].Tracks[0].Packets
			if p.Written != 44 || p.Lost != 3 || p.Discarded[name] != 17 || p.Received != 61 {
				t.Errorf("%+v", p)
			}
			gaps := session.Manifest().Files[0].Tracks[0].Gaps
			if len(gaps) != 2 || gaps[0].Packets != 1 || gaps[1].Packets != 2 {
				t.Errorf("gaps: %+v", gaps)
			}
		})
	}
}
