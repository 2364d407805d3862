package recorder

import (
	"bytes"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/signaling"
)

// TestSoundFollowsThatWaitsForALoss has sound stand still, since a packet is asked for
// again, while a picture begins that WebM can't carry: each sound gets a time of its
// own all the same.
func TestSoundFollowsThatWaitsForALoss(t *testing.T) {
	room := &script{}
	room.joined(0, "a")
	audio := room.start(0, &signaling.Track{Participant: "a", Stream: "s", Connection: 1, SSRC: 1, Kind: media.Audio, Retransmits: true})
	video := room.start(0, &signaling.Track{Participant: "a", Stream: "s", Connection: 1, SSRC: 2, Kind: media.Video, Codecs: map[uint8]media.Codec{96: media.VP8, 97: media.H264}})
	video.pt = 97
	audio.audio(0, ms(900))
	lost, timestamp := audio.seq, audio.rtp
	audio.seq, audio.rtp = lost+1, timestamp+960
	audio.audio(ms(920), 3*time.Second)
	audio.rtp = timestamp
	audio.raw(ms(1700), lost, false, []byte{0xfc, 1})
	for at := time.Second; at < 3*time.Second; at += ms(40) {
		video.rtp += 3600
		video.packet(at, true, h264Key)
	}
	m := newMemory()
	cfg := config(m)
	cfg.Ext, cfg.MaxWaitLoss = webm.Ext, time.Second
	if _, err := run(t, cfg, room); err != nil {
		t.Fatal(err)
	}
	sounds := 0
	for _, name := range []string{"a.webm", "a.mkv"} {
		last := time.Duration(-1)
		_, err := webm.Survey(bytes.NewReader(m.files[name].data), -1, func(b webm.Block, track webm.Track) {
			if track.Codec != media.Opus {
				return
			}
			sounds++
			if b.Time <= last {
				t.Errorf("%s: a sound at %v comes after one at %v", name, b.Time, last)
			}
			last = b.Time
		})
		if err != nil {
			t.Error(err)
		}
	}
	if sounds != 150 {
		t.Errorf("%d packets of sound are recorded, want 150", sounds)
	}
}

// h264Key is a STAP-A packet with parameter sets of 320x240 and the beginning of
// an IDR slice.
var h264Key = []byte{
	0x78, 0, 9, 0x27, 0x42, 0xe0, 0x0d, 0x95, 0xa0, 0x50, 0x7e, 0x40, 0, 5, 0x28, 0xce, 0x03, 0x9e, 0x80,
	0, 6, 0x65, 0x88, 0x80, 0x5a, 0x5a, 0x5a,
}

// TestSoundFollowsAPictureThatNeedsAnotherKindOfFile has the sound begin a
// second before a picture that WebM can't carry.
func TestSoundFollowsAPictureThatNeedsAnotherKindOfFile(t *testing.T) {
	for _, c := range []struct {
		name   string
		codecs map[uint8]media.Codec
		want   map[string][]string
	}{
		{"a choice of codecs", map[uint8]media.Codec{96: media.VP8, 97: media.H264},
			map[string][]string{"a.webm": {"Opus"}, "a.mkv": {"H264", "Opus"}}},
		{"one codec", map[uint8]media.Codec{97: media.H264, 98: media.H264},
			map[string][]string{"a.mkv": {"H264", "Opus"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			room := &script{}
			room.joined(0, "a")
			audio := room.start(0, &signaling.Track{Participant: "a", Stream: "s", Connection: 1, SSRC: 1, Kind: media.Audio})
			video := room.start(0, &signaling.Track{Participant: "a", Stream: "s", Connection: 1, SSRC: 2, Kind: media.Video, Codecs: c.codecs})
			video.pt = 97
			audio.audio(0, 4*time.Second)
			for at := time.Second; at < 4*time.Second; at += ms(40) {
				video.rtp += 3600
				video.packet(at, true, h264Key)
			}
			m := newMemory()
			cfg := config(m)
			cfg.Ext = webm.Ext
			s, err := run(t, cfg, room)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string][]string{}
			frames := map[string]int64{}
			for _, f := range s.Manifest().Files {
				for _, tr := range f.Tracks {
					got[f.Path] = append(got[f.Path], tr.Codec)
					frames[tr.Codec] += tr.Frames.Written
				}
				slices.Sort(got[f.Path])
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if !maps.Equal(frames, map[string]int64{"H264": 75, "Opus": 200}) {
				t.Errorf("frames %v", frames)
			}
		})
	}
}
