package recorder

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
)

// liveRoom gives the events of a script as a live room does: ticks come late,
// and events that had arrived come before a tick that was due earlier.
type liveRoom struct {
	script
	rand *rand.Rand
	// stop ends the room by its time, as a signal would; zero: never.
	stop time.Time
	// seen are the events that were handed over, as a dump would hold them.
	seen []signaling.Event
}

func (r *liveRoom) Next(_ context.Context, deadline time.Time) (signaling.Event, error) {
	wake := time.Duration(r.rand.IntN(30)) * time.Millisecond
	if r.rand.IntN(20) == 0 {
		wake *= 10
	}
	at := r.end
	if r.next < len(r.events) {
		at = r.events[r.next].Time
	}
	if !deadline.IsZero() && deadline.Add(wake).Before(at) {
		r.now = maxTime(r.now, deadline.Add(wake))
		return signaling.Event{Kind: signaling.Tick, Time: r.now}, nil
	}
	r.now = maxTime(r.now, at)
	if r.next == len(r.events) || !r.stop.IsZero() && r.now.After(r.stop) {
		return signaling.Event{}, io.EOF
	}
	r.next++
	e := r.events[r.next-1]
	kept := e
	if e.Packet != nil {
		kept.Packet = duplicate(e.Packet)
	}
	r.seen = append(r.seen, kept)
	return e, nil
}

func duplicate(p *media.Packet) *media.Packet {
	b := rtp(p.PayloadType, p.SequenceNumber, p.Timestamp, p.SSRC, p.Marker, p.Payload)
	c, err := media.NewPacket(b, p.Arrival)
	if err != nil {
		panic(err)
	}
	c.Recovered = p.Recovered
	return c
}

// untimed is a room that never gives a tick.
type untimed struct{ *script }

func (r untimed) Next(ctx context.Context, _ time.Time) (signaling.Event, error) {
	return r.script.Next(ctx, time.Time{})
}

// impaired makes a call with loss, late and reordered packets, a pause, and
// sender reports.
func impaired(seed uint64) *script {
	rnd := rand.New(rand.NewPCG(seed, 1))
	room := &script{}
	room.joined(0, "alice")
	fb := &feedback{room: room, nacks: map[uint16]int{}}
	v := room.start(0, &signaling.Track{Participant: "alice", Stream: "cam", Connection: 1, SSRC: 1, Kind: media.Video, Feedback: fb, Retransmits: seed%2 == 0})
	a := room.start(0, &signaling.Track{Participant: "alice", Stream: "cam", Connection: 1, SSRC: 2, Kind: media.Audio, Feedback: fb, Retransmits: seed%2 == 0})
	network := func() (time.Duration, bool) {
		d := time.Duration(rnd.IntN(15_000_000))
		switch rnd.IntN(20) {
		case 0:
			return 0, false
		case 1:
			d += time.Duration(rnd.IntN(2000)) * time.Millisecond
		}
		return d, true
	}
	send := func(s *sender, at time.Duration, marker bool, payload []byte) {
		seq := s.seq
		s.seq++
		if d, ok := network(); ok {
			s.raw(at+d, seq, marker, payload)
		}
	}
	for at := ms(5); at < 20*time.Second; at += ms(20) {
		if at > 8*time.Second && at < 10*time.Second { // nobody says a word
			continue
		}
		send(a, at, false, append([]byte{0xfc}, bytes.Repeat([]byte{byte(a.seq)}, 60)...))
		a.rtp += 960
		if at%ms(40) == ms(5) {
			key := at == ms(5) || rnd.IntN(25) == 0
			send(v, at, false, vp8Payload(v.pic, true, key, 640, 480, 300))
			send(v, at+ms(1), true, vp8Payload(v.pic, false, false, 0, 0, 300))
			v.pic = (v.pic + 1) & 0x7fff
			v.rtp += 3600
		}
		if at%ms(500) == ms(5) {
			for _, s := range []*sender{v, a} {
				room.add(signaling.Event{Kind: signaling.Reported, Time: t0.Add(at + ms(7)), Track: s.in,
					Report: signaling.SenderReport{NTP: uint64(5000+at.Seconds()*1.0001)<<32 | 77, RTP: s.rtp}})
			}
		}
	}
	return room
}

// What is recorded is a function of the events: ticks that come late, a stop
// long after the last event, a live table, and senders that answer change no
// byte.
func TestLiveEqualsReplay(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			live := &liveRoom{script: *impaired(seed), rand: rand.New(rand.NewPCG(seed, 2))}
			switch seed % 3 {
			case 1:
				live.stop = t0.Add(time.Duration(5000+seed*1234) * time.Millisecond)
			case 2:
				live.end = live.end.Add(10 * time.Second)
			}
			first := newMemory()
			cfg := config(first)
			cfg.Start = t0.Add(-ms(30))
			cfg.OnStatus = func(Status) {}
			if seed%4 == 3 {
				cfg.Duration = ms(7777)
			}
			if _, err := run(t, cfg, live); err != nil {
				t.Fatal(err)
			}

			again := newMemory()
			cfg = config(again)
			cfg.Start = t0.Add(-ms(30))
			cfg.Name = "replay-{participant}"
			dumped := map[*signaling.Track]*signaling.Track{}
			for i := range live.seen {
				if tr := live.seen[i].Track; tr != nil {
					if dumped[tr] == nil {
						c := *tr
						c.Feedback = nil
						dumped[tr] = &c
					}
					live.seen[i].Track = dumped[tr]
				}
			}
			if _, err := run(t, cfg, untimed{&script{events: live.seen}}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(manifestOf(t, first).Quality, manifestOf(t, again).Quality); diff != "" {
				t.Errorf("quality (-live +replay):\n%s", diff)
			}
			if len(first.order) != len(again.order) {
				t.Fatalf("%v live, %v in the replay", first.order, again.order)
			}
			for i, name := range first.order {
				if !bytes.Equal(first.files[name].data, again.files[again.order[i]].data) {
					t.Errorf("%s differs", name)
				}
			}
		})
	}
}
