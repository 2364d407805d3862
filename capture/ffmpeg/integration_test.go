//go:build integration

package ffmpeg_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/roomtape/roomtape/capture"
	"github.com/roomtape/roomtape/capture/ffmpeg"
	"github.com/roomtape/roomtape/media"
)

func TestPatternGivesPicturesAndSoundOnOneClock(t *testing.T) {
	for _, codec := range []media.Codec{media.VP8, media.VP9} {
		t.Run(codec.String(), func(t *testing.T) {
			c := capture.Constraints{Width: 640, Height: 360, FrameRate: 30, Video: codec, Audio: media.Opus, Bitrate: 800_000}
			picture, sound := ffmpeg.Pattern(c, codec == media.VP9)
			s, err := ffmpeg.Open(t.Context(), ffmpeg.Config{Constraints: c, Picture: picture, Sound: sound})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var last [3]time.Time
			var count [3]int
			keys, asked, answered := 0, time.Time{}, time.Duration(0)
			begin := time.Now()
			for time.Since(begin) < 3*time.Second {
				sample, err := s.Next(ctx)
				if err != nil {
					t.Fatal(err)
				}
				k := sample.Kind
				if !sample.Captured.After(last[k]) {
					t.Errorf("%v captured at %v after %v", k, sample.Captured, last[k])
				}
				last[k] = sample.Captured
				count[k]++
				if k == media.Video && sample.Frame.Key {
					keys++
					if !asked.IsZero() && answered == 0 {
						answered = time.Since(asked)
					}
				}
				if count[media.Video] == 20 && asked.IsZero() {
					asked = time.Now()
					s.RequestKeyframe()
				}
			}
			t.Logf("%d pictures, %d keyframes, %d packets of sound, keyframe after %v", count[media.Video], keys, count[media.Audio], answered)
			if count[media.Video] < 45 || count[media.Audio] < 100 || keys != 2 {
				t.Errorf("%d pictures, %d keyframes, %d packets of sound in 3 s", count[media.Video], keys, count[media.Audio])
			}
			if skew := last[media.Video].Sub(last[media.Audio]); skew < -time.Second || skew > time.Second {
				t.Errorf("pictures and sound are %v apart", skew)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			for {
				if _, err := s.Next(ctx); err != nil {
					if !errors.Is(err, io.EOF) {
						t.Error(err)
					}
					break
				}
			}
		})
	}
}
