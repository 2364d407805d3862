package recorder

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output"
	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/signaling"
)

// day is a Room in which some people are in a call for 24 hours. All times are
// real time since t0, which is the clock of arrivals.
type day struct {
	r       *rand.Rand
	callers []*caller
	// wire has what was sent and has not arrived, the earliest first.
	wire    wire
	started int
	now     time.Duration
	length  time.Duration
	// hour is called when so many hours have passed.
	hour  func(n int)
	hours int
}

// caller is one of them: their clocks, what they do, what the recorder makes of
// it.
type caller struct {
	name string
	// wall, audio and video are how much faster than real time their clocks run,
	// in ppm.
	wall, audio, video int64
	// opus is the duration of their Opus frames.
	opus time.Duration
	// shift moves what they do every hour.
	shift time.Duration

	tracks [2]*dayTrack // audio, video
	skew   skewMeter
}

// dayTrack is a track on its way out of the sender.
type dayTrack struct {
	in       *signaling.Track
	who      *caller
	rate     int64
	ppm      int64
	seq      uint16
	base     uint32
	stood    time.Duration // how long timestamps have stood still
	next     time.Duration // when the next frame is captured
	report   time.Duration // when the next report is sent
	lastSent time.Duration
	lastTS   uint32
	queue    time.Duration // nothing overtakes in the network
	nextMute time.Duration
	frames   int
	sharing  bool
	packet   []byte
}

// inFlight is an event and when it arrives, in ns.
type inFlight struct {
	at int64
	ev signaling.Event
}

// wire is a heap of events by their arrival.
type wire []inFlight

func (w *wire) push(at time.Duration, ev signaling.Event) {
	ev.Time = t0.Add(at)
	if ev.Packet != nil {
		ev.Packet.Arrival = ev.Time
	}
	h := append(*w, inFlight{int64(at), ev})
	for i := len(h) - 1; i > 0 && h[i].at < h[(i-1)/2].at; i = (i - 1) / 2 {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
	}
	*w = h
}

func (w *wire) pop() signaling.Event {
	h := *w
	ev := h[0].ev
	last := len(h) - 1
	h[0] = h[last]
	h[last] = inFlight{}
	h = h[:last]
	for i := 0; ; {
		c := 2*i + 1
		if c+1 < last && h[c+1].at < h[c].at {
			c++
		}
		if c >= last || h[i].at <= h[c].at {
			break
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
	*w = h
	return ev
}

func newDay(length time.Duration, callers ...*caller) *day {
	d := &day{r: rand.New(rand.NewPCG(24, 4)), callers: callers, length: length}
	for i, c := range callers {
		c.skew.length = length
		for k, kind := range []media.Kind{media.Audio, media.Video} {
			t := &dayTrack{who: c, rate: 48000, ppm: c.audio, base: d.r.Uint32(), packet: make([]byte, 64)}
			codecs := map[uint8]media.Codec{111: media.Opus}
			if kind == media.Video {
				t.rate, t.ppm, codecs = 90000, c.video, map[uint8]media.Codec{96: media.VP8}
			}
			t.in = &signaling.Track{Participant: c.name, Stream: "s", ID: kind.String(), Connection: i + 1, SSRC: uint32(2*i + k + 1), Kind: kind, Codecs: codecs, Retransmits: true}
			t.next = ms(100*i + 20*k)
			t.report = t.next + ms(300)
			t.nextMute = t.next + ms(20_000)
			c.tracks[k] = t
		}
	}
	return d
}

func (d *day) Close() error { return nil }

func (d *day) Next(_ context.Context, deadline time.Time) (signaling.Event, error) {
	if d.started < 2*len(d.callers) {
		t := d.callers[d.started/2].tracks[d.started%2]
		d.started++
		return signaling.Event{Kind: signaling.TrackStarted, Time: t0, Track: t.in}, nil
	}
	for {
		first := d.first()
		if first == nil || len(d.wire) > 0 && d.wire[0].at <= int64(first.next) {
			break
		}
		d.send(first)
	}
	if len(d.wire) == 0 {
		return signaling.Event{}, io.EOF
	}
	if at := time.Duration(d.wire[0].at); deadline.IsZero() || !deadline.Before(t0.Add(at)) {
		d.now = at
		for d.now >= time.Duration(d.hours+1)*time.Hour {
			d.hours++
			d.hour(d.hours)
		}
		return d.wire.pop(), nil
	}
	d.now = max(d.now, deadline.Sub(t0))
	return signaling.Event{Kind: signaling.Tick, Time: t0.Add(d.now)}, nil
}

// first gives the track whose next frame is captured first.
func (d *day) first() *dayTrack {
	var first *dayTrack
	for _, c := range d.callers {
		for _, t := range c.tracks {
			if t.next < d.length && (first == nil || t.next < first.next) {
				first = t
			}
		}
	}
	return first
}

func (d *day) upTo(most time.Duration) time.Duration { return time.Duration(d.r.Int64N(int64(most))) }

func drifted(t time.Duration, ppm int64) time.Duration {
	return t + time.Duration(int64(t)/1000*ppm/1000)
}

// timestamp gives the RTP timestamp of a real time.
func (t *dayTrack) timestamp(at time.Duration) uint32 {
	d := drifted(at-t.stood, t.ppm)
	return t.base + uint32(int64(d/time.Second)*t.rate+int64(d%time.Second)*t.rate/int64(time.Second))
}

// send takes a track's next frame to the network.
func (d *day) send(t *dayTrack) {
	at := t.next
	if t.in.Kind == media.Audio {
		if at >= t.nextMute { // the track is taken from the sender, as browsers do for a mute
			until := at + ms(1000) + d.upTo(ms(120_000))
			t.reports(d, until)
			t.stood += until - at
			t.next, t.nextMute = until, until+ms(60_000)+d.upTo(15*time.Minute)
			return
		}
		t.next += t.who.opus
		sent := max(at+d.upTo(ms(4)), t.lastSent)
		t.reports(d, sent)
		t.lastSent, t.lastTS = sent, t.timestamp(at)
		t.packet[12] = byte(t.who.opus/ms(20)) << 3 // SILK, 20, 40 or 60 ms (RFC 6716 §3.1)
		binary.BigEndian.PutUint64(t.packet[13:], uint64(at))
		d.packet(t, sent, 111, t.packet[:21])
		return
	}
	minute := (at + t.who.shift) % time.Hour / time.Minute
	width, step := 640, ms(100)
	switch {
	case minute >= 50 && minute < 53: // the camera is off
		t.next += ms(180_000)
		t.frames = 0
		return
	case minute >= 20 && minute < 32: // the screen is shared: large pictures, few of them
		width, step = 1920, ms(400)
	}
	key := t.frames%600 == 0 || t.sharing != (width == 1920)
	t.sharing = width == 1920
	t.frames++
	t.next += step
	sent := max(at+ms(5)+d.upTo(ms(10)), t.lastSent)
	t.reports(d, sent)
	t.lastSent, t.lastTS = sent, t.timestamp(at)
	b := append(t.packet[:12], 0x10, 0x31, 0, 0) // RFC 7741, RFC 6386 §9.1
	if key {
		b[13] = 0x30
		b = append(b, 0x9d, 0x01, 0x2a, byte(width), byte(width>>8), 0x68, 0x01)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	d.packet(t, sent, 96, b)
}

// packet sends b, whose first 12 bytes are the header's. 3 % are lost, and come
// after some round trips; the others have jitter, and overtake each other at times.
func (d *day) packet(t *dayTrack, sent time.Duration, pt uint8, b []byte) {
	b[0], b[1] = 0x80, pt|0x80
	binary.BigEndian.PutUint16(b[2:], t.seq)
	binary.BigEndian.PutUint32(b[4:], t.lastTS)
	binary.BigEndian.PutUint32(b[8:], t.in.SSRC)
	t.seq++
	p, err := media.NewPacket(b, t0)
	if err != nil {
		panic(err)
	}
	at := max(sent+d.path(), t.queue)
	t.queue = at
	switch n := d.r.Uint32N(1000); {
	case n < 30:
		p.Recovered = true
		at += ms(60)
		for again := n; again < 30; again = d.r.Uint32N(1000) {
			at += ms(60) + d.upTo(ms(40))
		}
	case n < 60:
		at += d.upTo(ms(50))
	}
	d.wire.push(at, signaling.Event{Kind: signaling.PacketArrived, Track: t.in, Packet: p})
}

// path draws the time that a packet is on its way: 30 ms and a bit, up to 50.
func (d *day) path() time.Duration {
	x := d.r.Float64()
	return ms(30) + time.Duration(20e6*x*x*x)
}

// reports sends the sender reports up to a time. They are off by up to 3 ms, and
// some are lost; those of a muted track go on as if it were not.
func (t *dayTrack) reports(d *day, until time.Duration) {
	for t.report <= until {
		at := t.report
		every := ms(1000)
		if t.in.Kind == media.Audio {
			every = ms(5000)
		}
		t.report += every/2 + d.upTo(every)
		r := signaling.SenderReport{RTP: t.timestamp(at)}
		if t.in.Kind == media.Audio {
			r.RTP = t.lastTS + uint32(int64(at-t.lastSent)*48/1e6)
		}
		wall := drifted(at, t.who.wall) + ms(-3) + d.upTo(ms(6)) + 50*365*24*time.Hour
		r.NTP = uint64(wall/time.Second)<<32 + uint64(wall%time.Second)<<32/uint64(time.Second)
		if d.r.Uint32N(100) < 3 {
			continue
		}
		d.wire.push(at+d.path(), signaling.Event{Kind: signaling.Reported, Track: t.in, Report: r})
	}
}

// skewMeter measures how far sound is placed after picture, against when they
// were captured.
type skewMeter struct {
	length   time.Duration
	kinds    [3]media.Kind // by track number
	off      [3]time.Duration
	captured [3]time.Duration
	frames   [3]int
	// bins count |skew| in steps of 0.1 ms.
	bins      [1000]int
	n         int
	most      time.Duration
	mostAt    time.Duration
	early     mean // of the skew, minutes 1 to 11
	late      mean // of the last 10 minutes
	placed    [2]time.Duration
	placedAny bool
}

type mean struct{ sum, n time.Duration }

func (m *mean) add(d time.Duration)  { m.sum += d; m.n++ }
func (m *mean) value() time.Duration { return m.sum / max(m.n, 1) }

// meter is a Muxer that measures what goes through it.
type meter struct {
	output.Muxer
	*skewMeter
}

func (m meter) AddTrack(t media.Track) (int, error) {
	n, err := m.Muxer.AddTrack(t)
	m.kinds[n] = t.Codec.Kind()
	return n, err
}

func (m meter) WriteFrame(n int, f media.Frame) error {
	k := m.kinds[n]
	captured := time.Duration(binary.BigEndian.Uint64(f.Data[len(f.Data)-8:]))
	m.off[k], m.captured[k] = f.Time-captured, captured
	m.frames[k]++
	if k == media.Video && m.frames[media.Audio] > 0 {
		if captured > 2*time.Second {
			if !m.placedAny {
				m.placed, m.placedAny = [2]time.Duration{m.off[k], m.off[k]}, true
			}
			m.placed[0], m.placed[1] = min(m.placed[0], m.off[k]), max(m.placed[1], m.off[k])
		}
		if (captured - m.captured[media.Audio]).Abs() < ms(500) {
			m.measure(captured, m.off[media.Audio]-m.off[media.Video])
		}
	}
	return m.Muxer.WriteFrame(n, f)
}

func (m *skewMeter) measure(at, skew time.Duration) {
	d := skew.Abs()
	m.bins[min(int(d/(100*time.Microsecond)), len(m.bins)-1)]++
	m.n++
	if d > m.most && at > 2*time.Second { // ten pictures a second tell little about jitter
		m.most, m.mostAt = d, at
	}
	switch {
	case at >= time.Minute && at < 11*time.Minute:
		m.early.add(skew)
	case at >= m.length-10*time.Minute:
		m.late.add(skew)
	}
}

// p95 gives what 95 % of the frames are within.
func (m *skewMeter) p95() time.Duration {
	n := 0
	for i, c := range &m.bins {
		if n += c; n*100 >= m.n*95 {
			return time.Duration(i+1) * 100 * time.Microsecond
		}
	}
	return 0
}

// TestADayOfACall: people whose clocks are off by up to 500 ppm talk for 24 hours,
// mute themselves, turn cameras off and share screens over a network that loses
// packets. Sound and picture stay together to the end, and memory does not grow.
func TestADayOfACall(t *testing.T) {
	if testing.Short() {
		t.Skip("a day takes some seconds")
	}
	length := 24 * time.Hour
	if underRace {
		length = time.Hour
	}
	d := newDay(length,
		&caller{name: "wall and video fast, audio slow", wall: 200, audio: -500, video: 500, opus: ms(40)},
		&caller{name: "wall and video slow, audio fast", wall: -500, audio: 200, video: -200, opus: ms(60), shift: 17 * time.Minute},
	)
	var heaps []uint64
	d.hour = func(n int) {
		if n != 1 && n != 12 && n != 23 {
			return
		}
		runtime.GC()
		runtime.GC() // what a pool holds goes with the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		heaps = append(heaps, m.HeapAlloc)
	}
	s, err := NewSession(Config{
		Store: &discarding{},
		NewMuxer: func(w io.Writer, o MuxerOptions) (output.Muxer, error) {
			m, err := webm.NewWriter(w, webm.Config{Chunk: o.Chunk})
			for _, c := range d.callers {
				if c.name == o.Title {
					return meter{m, &c.skew}, err
				}
			}
			return nil, fmt.Errorf("nobody is called %q", o.Title)
		},
		Ext: webm.Ext,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(context.Background(), d); err != nil {
		t.Fatal(err)
	}

	m := s.Manifest()
	checkAccounts(t, m)
	if len(m.Files) != len(d.callers) {
		t.Errorf("%d files, want %d", len(m.Files), len(d.callers))
	}
	for _, f := range m.Files {
		if len(f.Tracks) != 2 || (ms(int(f.DurationMS))-length).Abs() > 10*time.Second {
			t.Errorf("%s: %d tracks, %d ms", f.Participant, len(f.Tracks), f.DurationMS)
		}
		for _, tr := range f.Tracks {
			if tr.Packets.Lost > 0 || tr.Packets.Late > 0 || tr.Frames.Dropped > 0 || tr.Packets.Recovered == 0 {
				t.Errorf("%s %s: %+v %+v", f.Participant, tr.Kind, tr.Packets, tr.Frames)
			}
			if tr.Kind == "video" && len(tr.Sizes) != 2*int(length/time.Hour)+1 {
				t.Errorf("%s: %d sizes", f.Participant, len(tr.Sizes))
			}
		}
	}
	for i, c := range d.callers {
		k := &c.skew
		for j := range k.placed {
			k.placed[j] += ms(int(m.Files[i].OffsetMS)) // from file to session
		}
		drift := k.late.value() - k.early.value()
		t.Logf("%-31s  audio to video: p95 %v, max %v at %v, drift %v, at the end %v; video %v to %v after its capture; %d frames", c.name, k.p95(),
			k.most.Round(time.Microsecond), k.mostAt.Round(time.Second), drift.Round(time.Microsecond), k.late.value().Round(time.Microsecond),
			k.placed[0].Round(time.Microsecond), k.placed[1].Round(time.Microsecond), k.frames[media.Audio]+k.frames[media.Video])
		if drift.Abs() > ms(10) || k.late.value().Abs() > ms(10) || k.p95() > ms(10) || k.most > ms(50) {
			t.Errorf("%s: sound and picture are apart", c.name)
		}
		if k.placed[0] < ms(-20) || k.placed[1] > ms(60) {
			t.Errorf("%s: video has left the arrival clock", c.name)
		}
	}
	if underRace {
		return
	}
	t.Logf("heap after hours 1, 12 and 23: %d, %d and %d kB", heaps[0]/1000, heaps[1]/1000, heaps[2]/1000)
	if heaps[2] > heaps[0]+heaps[0]/4+1<<20 {
		t.Error("memory grows")
	}
}
