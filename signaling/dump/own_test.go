package dump_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/dump"
)

// start is when the events of tests begin, to the nanosecond.
var start = time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)

// events draws what a room may say, in order. Packets are whole.
func events(t *rapid.T) []signaling.Event {
	at := start
	var out []signaling.Event
	var live []*signaling.Track
	emit := func(e signaling.Event) {
		at = at.Add(time.Duration(rapid.Int64Range(0, int64(3*time.Second)).Draw(t, "pause")))
		e.Time = at
		if e.Packet != nil {
			e.Packet.Arrival = at
		}
		out = append(out, e)
	}
	word := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 20), func(b []byte) string { return string(b) }))
	for range rapid.IntRange(0, 60).Draw(t, "events") {
		switch kind := signaling.EventKind(rapid.IntRange(0, int(signaling.MessageArrived)).Draw(t, "kind")); {
		case kind == signaling.Tick:
			emit(signaling.Event{})
		case kind == signaling.Joined, kind == signaling.Left:
			emit(signaling.Event{Kind: kind, Participant: word.Draw(t, "participant")})
		case kind == signaling.MessageArrived:
			// More than a block holds, now and then.
			data := bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "data"), rapid.SampledFrom([]int{1, 1, 1, 3000, 12_000}).Draw(t, "times"))
			emit(signaling.Event{Kind: kind, Participant: word.Draw(t, "participant"), Message: &signaling.Message{
				Label: word.Draw(t, "label"), Text: rapid.Bool().Draw(t, "text"), Data: data,
			}})
		case kind == signaling.TrackStarted, len(live) == 0:
			x := &signaling.Track{
				Participant: word.Draw(t, "participant"), Stream: word.Draw(t, "stream"), ID: word.Draw(t, "id"),
				Connection: rapid.IntRange(0, 1000).Draw(t, "connection"), SSRC: rapid.Uint32().Draw(t, "ssrc"),
				Kind:           media.Kind(rapid.IntRange(1, 2).Draw(t, "kind")),
				Codecs:         map[uint8]media.Codec{96: media.VP8, 111: media.Opus, 0: media.H264},
				Auxiliary:      rapid.SampledFrom([]map[uint8]string{nil, {101: "telephone-event", 13: "C\xff"}}).Draw(t, "auxiliary"),
				AbsCaptureTime: rapid.Byte().Draw(t, "extension"), Retransmits: rapid.Bool().Draw(t, "rtx"),
				Dependencies: rapid.Byte().Draw(t, "dependencies"),
			}
			if rapid.Bool().Draw(t, "sets") {
				x.ParameterSets = signaling.ParameterSets{0: {{0x67, 66, 0, 30}, {0x68, 0xce, 0x3c, 0x80}}, 97: {{0x27, 1, 2, 3}}}
			}
			if rapid.Bool().Draw(t, "red") {
				x.RED = map[uint8]bool{111: true, 0: true}
			}
			live = append(live, x)
			emit(signaling.Event{Kind: signaling.TrackStarted, Track: x})
		case kind == signaling.TrackEnded:
			i := rapid.IntRange(0, len(live)-1).Draw(t, "track")
			emit(signaling.Event{Kind: kind, Track: live[i]})
			live = append(live[:i], live[i+1:]...)
		case kind == signaling.Reported:
			emit(signaling.Event{Kind: kind, Track: rapid.SampledFrom(live).Draw(t, "track"), Report: signaling.SenderReport{
				NTP: rapid.Uint64().Draw(t, "ntp"), RTP: rapid.Uint32().Draw(t, "rtp"),
			}})
		case kind == signaling.PacketArrived:
			emit(signaling.Event{Kind: kind, Track: rapid.SampledFrom(live).Draw(t, "track"), Packet: packet(t)})
		}
	}
	return out
}

func packet(t *rapid.T) *media.Packet {
	b := []byte{0x80, rapid.SampledFrom([]byte{96, 111, 0, 96 | 0x80, 13, 77}).Draw(t, "type")}
	b = append(b, rapid.SliceOfN(rapid.Byte(), 10, 10).Draw(t, "header")...)
	if rapid.Bool().Draw(t, "csrc") {
		b[0] |= 2
		b = append(b, 1, 2, 3, 4, 5, 6, 7, 8)
	}
	if rapid.Bool().Draw(t, "extension") {
		b[0] |= 0x10
		b = append(b, 0xbe, 0xde, 0, 1, 0x31, 7, 8, 0)
	}
	b = append(b, rapid.SliceOfN(rapid.Byte(), 0, 1200).Draw(t, "payload")...)
	if rapid.Bool().Draw(t, "padding") {
		b[0] |= 0x20
		b = append(b, 0, 0, 3)
	}
	p, err := media.NewPacket(b, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Recovered = rapid.Bool().Draw(t, "recovered"); p.Recovered && len(p.Payload) >= 2 {
		p.SequenceNumber, p.Payload, p.SSRC = 5, p.Payload[2:], 6
	}
	return p
}

// said is an event without what only its owner can compare.
type said struct {
	Kind        signaling.EventKind
	Time        time.Time
	Participant string
	Track       signaling.Track
	Number      int // of the track
	Report      signaling.SenderReport
	Packet      []byte
	Capture     []byte
	Recovered   bool
	Label, Data string
	Text        bool
}

func say(list []signaling.Event) []said {
	out := []said{}
	numbers := map[*signaling.Track]int{}
	for _, e := range list {
		s := said{Kind: e.Kind, Time: e.Time.UTC(), Participant: e.Participant, Report: e.Report}
		if e.Track != nil {
			if _, ok := numbers[e.Track]; !ok {
				numbers[e.Track] = len(numbers)
			}
			s.Track, s.Number = *e.Track, numbers[e.Track]
			s.Track.Feedback = nil
		}
		if m := e.Message; m != nil {
			s.Label, s.Data, s.Text = m.Label, string(m.Data), m.Text
		}
		if p := e.Packet; p != nil {
			s.Packet, s.Recovered, s.Capture = p.Append(nil), p.Recovered, p.Extension(3)
			if !p.Arrival.Equal(e.Time) {
				s.Kind = 255
			}
		}
		out = append(out, s)
	}
	return out
}

func write(t interface{ Fatal(...any) }, list []signaling.Event) []byte {
	var b bytes.Buffer
	w, err := dump.NewWriter(&b, dump.WriterConfig{Session: dump.SessionInfo{Room: "standup", Start: start}})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// reread gives the events in a file, and how it ends.
func reread(t *rapid.T, path string) (list []signaling.Event, s dump.Summary, end error) {
	r, err := dump.Open(t.Context(), []string{path}, dump.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		e, err := r.Next(t.Context(), time.Time{})
		if err != nil {
			return list, r.Summary(), err
		}
		list = append(list, e)
	}
}

func withoutTicks(list []signaling.Event) []signaling.Event {
	var out []signaling.Event
	for _, e := range list {
		if e.Kind != signaling.Tick {
			out = append(out, e)
		}
	}
	return out
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		in := events(t)
		path := filepath.Join(dir, "dump")
		if err := os.WriteFile(path, write(t, in), 0o600); err != nil {
			t.Fatal(err)
		}
		out, s, err := reread(t, path)
		if err != io.EOF {
			t.Fatalf("the end is %v", err)
		}
		if d := cmp.Diff(say(withoutTicks(in)), say(out)); d != "" {
			t.Fatalf("other events (- written, + read):\n%s", d)
		}
		if s.Session == nil || s.Session.Room != "standup" || !s.Session.Start.Equal(start) {
			t.Fatalf("the session is %+v", s.Session)
		}
	})
}

func TestEveryCutOfADumpGivesWhatIsBefore(t *testing.T) {
	track := &signaling.Track{Participant: "a", Kind: media.Audio, Codecs: map[uint8]media.Codec{111: media.Opus}}
	list := []signaling.Event{
		{Kind: signaling.Joined, Time: start, Participant: "a"},
		{Kind: signaling.TrackStarted, Time: start, Track: track},
	}
	for i := range 5 {
		p, err := media.NewPacket([]byte{0x80, 111, 0, byte(i), 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3}, start)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, signaling.Event{Kind: signaling.PacketArrived, Time: start, Track: track, Packet: p})
	}
	whole := write(t, list)
	most := 0
	for n := range whole {
		p := playBytes(t, dump.Config{}, whole[:n])
		if len(p.events) < most || len(p.events) > len(list) {
			t.Fatalf("%d events of a dump cut at %d, %d before", len(p.events), n, most)
		}
		most = len(p.events)
		if d := cmp.Diff(say(list)[:most], say(p.events)); d != "" {
			t.Fatalf("cut at %d:\n%s", n, d)
		}
		var damage *dump.DamageError
		if p.err != nil && !errors.Is(p.err, dump.ErrFormat) && !errors.As(p.err, &damage) {
			t.Fatalf("cut at %d: %v", n, p.err)
		}
	}
	if most != len(list)-1 {
		t.Errorf("%d events of a dump without its last byte", most)
	}
}

func TestWriterKeepsItsFirstError(t *testing.T) {
	w, err := dump.NewWriter(io.Discard, dump.WriterConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(signaling.Event{Kind: signaling.TrackEnded, Track: &signaling.Track{}}); err == nil {
		t.Error("an unknown track is taken")
	}
	if err := w.Write(signaling.Event{Kind: signaling.Tick, Time: start}); err == nil {
		t.Error("the error is forgotten")
	}
}
