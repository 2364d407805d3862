package netsim_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/netsim"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/output/webm"
	"github.com/roomtape/roomtape/recorder"
)

// recorded is a frame as a file holds it.
type recorded struct {
	n int
	// at is when it is shown, on the session's clock.
	at time.Duration
}

// outcome is what became of a call.
type outcome struct {
	videoSent, video int
	audioSent, audio int
	// delivered is how many audio frames the network has let through.
	delivered int
	// undecodable frames refer to one that the file does not hold; damaged ones
	// are not what was sent.
	undecodable, damaged int
	// skew is between each picture and the sound that was captured with it;
	// off is how far each frame is from its place, when the median of all is
	// taken for the common offset.
	skew, off []time.Duration
	// videoLost and audioLost are how long the pictures and the sounds that are
	// missing last.
	videoLost, audioLost time.Duration
	// gaps is what the manifest says is missing of the video.
	gaps             time.Duration
	recovered, asked int
	keyframes        int
	shown            []netsim.Sent // the pictures that are in the file
	// back is how long after the network the picture was, and couldBack how long
	// after it a keyframe can have come at the earliest.
	back, couldBack time.Duration
}

// measure reads back what is in dir of what was sent.
func measure(t *testing.T, dir string, c *connected, m recorder.Manifest) *outcome {
	t.Helper()
	o, p := &outcome{}, c.pub
	var video, audio []recorded
	for _, f := range m.Files {
		frames := frameTimes(t, filepath.Join(dir, f.Path))
		offset := time.Duration(f.OffsetMS) * time.Millisecond
		video = append(video, o.match(frames[media.Video], media.VP8, p.SentVideo(), offset)...)
		audio = append(audio, o.match(frames[media.Audio], media.Opus, p.SentAudio(), offset)...)
		for _, track := range f.Tracks {
			o.recovered += int(track.Packets.Recovered)
			for _, g := range track.Gaps {
				if track.Kind == "video" {
					o.gaps += time.Duration(g.DurationMS) * time.Millisecond
				}
			}
		}
	}
	sentVideo, sentAudio := p.SentVideo(), p.SentAudio()
	o.videoSent, o.audioSent = len(sentVideo), len(sentAudio)
	o.video, o.audio = len(video), len(audio)
	for _, s := range sentAudio {
		if p.AudioDelivered(s) {
			o.delivered++
		}
	}
	o.videoLost = time.Duration(o.videoSent-o.video) * time.Second / 25
	o.audioLost = time.Duration(o.audioSent-o.audio) * 20 * time.Millisecond
	o.walk(video, sentVideo)
	o.compare(video, audio, sentVideo, sentAudio)
	o.asked = p.Heard().Nacked
	for _, s := range sentVideo {
		if s.Key {
			o.keyframes++
		}
	}
	return o
}

type block struct {
	data []byte
	at   time.Duration
}

// frameTimes reads a file.
func frameTimes(t *testing.T, file string) map[media.Kind][]block {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	frames := map[media.Kind][]block{}
	r := webm.NewReader(bytes.NewReader(b))
	for {
		got, err := r.Next()
		if err != nil {
			return frames
		}
		for _, track := range r.Tracks() {
			if track.Number == got.Track {
				kind := track.Codec.Kind()
				frames[kind] = append(frames[kind], block{bytes.Clone(got.Data), got.Time})
			}
		}
	}
}

// match finds the frames of a file among those sent.
func (o *outcome) match(frames []block, codec media.Codec, sent []netsim.Sent, offset time.Duration) []recorded {
	var out []recorded
	for _, f := range frames {
		n, ok := netsim.Number(codec, f.data)
		if !ok || n < 0 || n >= len(sent) || !bytes.Equal(sent[n].Data, f.data) {
			o.damaged++
			continue
		}
		out = append(out, recorded{n, f.at + offset})
	}
	return out
}

// walk follows the references of the pictures, which a decoder meets in the
// order of the file.
func (o *outcome) walk(video []recorded, sent []netsim.Sent) {
	good := map[int]bool{}
	for i, v := range video {
		s := sent[v.n]
		ok := s.Key || len(s.Refs) > 0
		for _, r := range s.Refs {
			ok = ok && good[r]
		}
		if i > 0 && video[i-1].n >= v.n {
			ok = false
		}
		good[v.n] = ok
		if !ok {
			o.undecodable++
		}
		o.shown = append(o.shown, s)
	}
}

// compare compares the times in the files with those of capture.
func (o *outcome) compare(video, audio []recorded, sentVideo, sentAudio []netsim.Sent) {
	if len(video) == 0 || len(audio) == 0 {
		return
	}
	zero := sentVideo[0].At
	place := func(r recorded, sent []netsim.Sent) time.Duration { return r.at - sent[r.n].At.Sub(zero) }
	var all []time.Duration
	next := 0
	for _, v := range video {
		at := sentVideo[v.n].At
		for next+1 < len(audio) && !sentAudio[audio[next+1].n].At.After(at) {
			next++
		}
		d := place(v, sentVideo)
		if at.Sub(sentAudio[audio[next].n].At).Abs() <= 100*time.Millisecond {
			o.skew = append(o.skew, (d - place(audio[next], sentAudio)).Abs())
		}
		all = append(all, d)
	}
	for _, a := range audio {
		all = append(all, place(a, sentAudio))
	}
	slices.Sort(all)
	middle := all[len(all)/2]
	for _, d := range all {
		o.off = append(o.off, (d - middle).Abs())
	}
	slices.Sort(o.skew)
	slices.Sort(o.off)
}

// picture finds when the picture was back after an outage. The recorder can ask
// when it gets the first packet after the outage; half a round trip later the
// next picture that is encoded can be a keyframe.
func (o *outcome) picture(c *connected, rtt time.Duration) {
	if c.up.IsZero() {
		return
	}
	for _, s := range o.shown {
		if s.At.After(c.up) {
			o.back = s.At.Sub(c.up)
			break
		}
	}
	var heard time.Time
	for _, s := range c.pub.SentVideo() {
		encoded := s.At.Add(encodeTime)
		if heard.IsZero() && encoded.After(c.up) && c.pub.VideoDelivered(s) {
			heard = encoded.Add(rtt)
		}
		// The recorder looks at what has come within some milliseconds.
		if !heard.IsZero() && encoded.After(heard.Add(5*time.Millisecond)) {
			o.couldBack = s.At.Sub(c.up)
			return
		}
	}
}

// percentile gives one of sorted times.
func percentile(times []time.Duration, percent int) time.Duration {
	if len(times) == 0 {
		return 0
	}
	return times[(len(times)-1)*percent/100]
}
