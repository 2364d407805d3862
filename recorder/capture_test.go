package recorder

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder/capturetest"
	"github.com/roomtape/roomtape/signaling"
)

// captureRoom makes a room of a capture: each SSRC that sends a payload type of
// codecs is a track of one participant.
func captureRoom(t *testing.T, name string, codecs map[uint8]media.Codec) (*script, int64) {
	room := &script{}
	tracks := map[uint32]*signaling.Track{}
	n := int64(0)
	last := t0
	for _, p := range capturetest.Packets(t, name, func(p *media.Packet) bool { return codecs[p.PayloadType] != 0 }) {
		if p.Arrival.Before(last) { // no time in the capture
			p.Arrival = last
		}
		last = p.Arrival
		in := tracks[p.SSRC]
		if in == nil {
			in = &signaling.Track{Participant: "a", Connection: 1, SSRC: p.SSRC, Kind: codecs[p.PayloadType].Kind(), Codecs: codecs}
			tracks[p.SSRC] = in
			room.events = append(room.events, signaling.Event{Kind: signaling.TrackStarted, Time: last, Track: in})
		}
		room.events = append(room.events, signaling.Event{Kind: signaling.PacketArrived, Time: last, Track: in, Packet: p})
		n++
	}
	room.end = last
	return room, n
}

func TestCapturesBecomeRecordings(t *testing.T) {
	const belledonne = "BelledonneCommunications-mediastreamer2/tester/scenarios/"
	for _, c := range []struct {
		name   string
		codecs map[uint8]media.Codec
		// frames and keys are those in the files.
		frames, keys int64
		oracle       string
	}{
		{"meetecho-janus-gateway/src/plugins/recordings/rec-sample-video.mjr", map[uint8]media.Codec{100: media.VP8}, 173, 1, ""},
		{"meetecho-janus-gateway/src/plugins/recordings/rec-sample-audio.mjr", map[uint8]media.Codec{111: media.Opus}, 529, 529, ""},
		{"HackWebRTC-webrtc/test/fuzzers/corpora/rtpdump-corpus/vp8/vp8.rtpdump", map[uint8]media.Codec{125: media.VP8}, 120, -1, ""},
		{"algesten-str0m/tests/data/vp8.pcap", map[uint8]media.Codec{96: media.VP8}, 101, 3, ""},
		{"membraneframework-membrane_rtp_vp8_plugin/test/fixtures/input_vp8.pcap", map[uint8]media.Codec{96: media.VP8}, 300, -1,
			"membraneframework-membrane_rtp_vp8_plugin/test/fixtures/input_vp8.ivf"},
		{"membraneframework-membrane_rtp_vp9_plugin/test/fixtures/input_vp9.pcap", map[uint8]media.Codec{96: media.VP9}, 300, 3,
			"membraneframework-membrane_rtp_vp9_plugin/test/fixtures/input_vp9.ivf"},
		{"jitsi-libjitsi/src/test/resources/org/jitsi/impl/neomedia/transform/fec/chrome_flexfec_and_video_capture.pcap",
			map[uint8]media.Codec{98: media.VP9}, 112, -1, ""},
		{belledonne + "congestion/video-160-0-0a5f30.pcapng", map[uint8]media.Codec{96: media.VP8}, 565, 5, ""},
		{belledonne + "congestion/video-160-90-0a5c30.pcapng", map[uint8]media.Codec{96: media.VP8}, 18, -1, ""},
		// One keyframe is cut short; 12 frames refer to it.
		{"algesten-str0m/tests/data/h264.pcap", map[uint8]media.Codec{126: media.H264}, 158 - 13, 7, ""},
		{"HackWebRTC-webrtc/_history/talk/media/testdata/video.rtpdump", map[uint8]media.Codec{97: media.H264}, 252, 1, ""},
		{belledonne + "h264_missing_pps_in_second_i_frame.pcap", map[uint8]media.Codec{96: media.H264}, 16, 1, ""},
		{belledonne + "rtp-534late-24loss-7000total.pcapng", map[uint8]media.Codec{124: media.Opus}, 7108, 7108, ""},
		{belledonne + "opus-edge-congestion20_60_40.pcapng", map[uint8]media.Codec{96: media.Opus}, 3083, 3083, ""},
		{"rickwporter-rtp-pcap/examples/sip-rtp-opus.pcap", map[uint8]media.Codec{99: media.Opus}, 425, 425, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			room, packets := captureRoom(t, c.name, c.codecs)
			m := newMemory()
			s, err := run(t, config(m), room)
			if err != nil {
				t.Fatal(err)
			}
			var received, frames, keys int64
			for _, f := range s.Manifest().Files {
				t.Logf("%s: %d ms, %+v", f.Path, f.DurationMS, f.Tracks[0].Packets)
				for _, tr := range f.Tracks {
					received += tr.Packets.Received
					frames += tr.Frames.Written
					keys += tr.Frames.Key
				}
			}
			for _, u := range s.Manifest().Unrecorded {
				received += u.Packets.Received
			}
			if received != packets {
				t.Errorf("%d packets in the manifest of %d in the capture", received, packets)
			}
			if frames != c.frames || c.keys >= 0 && keys != c.keys {
				t.Errorf("%d frames and %d keyframes, want %d and %d", frames, keys, c.frames, c.keys)
			}
			var all []written
			for _, name := range m.order {
				all = append(all, readBack(t, m.files[name].data)...)
			}
			if int64(len(all)) != frames {
				t.Errorf("%d frames read back, %d written", len(all), frames)
			}
			if c.oracle == "" {
				return
			}
			for i, want := range capturetest.IVF(t, c.oracle) {
				if i >= len(all) || all[i].data != string(want) {
					t.Fatalf("frame %d is not the oracle's", i)
				}
			}
		})
	}
}

// TestCapturesTwiceGiveIdenticalBytes also checks that the two tracks of a
// participant may come from different captures.
func TestCapturesTwiceGiveIdenticalBytes(t *testing.T) {
	var first map[string]string
	for range 2 {
		room, _ := captureRoom(t, "algesten-str0m/tests/data/vp8.pcap", map[uint8]media.Codec{96: media.VP8})
		audio, _ := captureRoom(t, "rickwporter-rtp-pcap/examples/sip-rtp-opus.pcap", map[uint8]media.Codec{99: media.Opus})
		shift := room.events[0].Time.Sub(audio.events[0].Time)
		for _, e := range audio.events {
			e.Time = e.Time.Add(shift)
			if e.Packet != nil {
				e.Packet.Arrival = e.Time
			}
			room.add(e)
		}
		m := newMemory()
		if _, err := run(t, config(m), room); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{ManifestName: string(m.other[ManifestName])}
		for name, f := range m.files {
			got[name] = string(f.data)
		}
		if first == nil {
			first = got
		} else if diff := cmp.Diff(slices.Sorted(maps.Keys(first)), slices.Sorted(maps.Keys(got))); diff != "" || !maps.Equal(first, got) {
			t.Errorf("two runs differ: %s", diff)
		}
	}
}
