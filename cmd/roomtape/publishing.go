package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/roomtape/roomtape/capture"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/peer"
)

// published is what publish has done, for people and for --json.
type published struct {
	Room     string  `json:"room"`
	Source   string  `json:"source"`
	Codec    string  `json:"codec"`
	Seconds  float64 `json:"seconds"`
	Pictures int64   `json:"pictures"`
	Keys     int64   `json:"keyframes"`
	Sound    int64   `json:"sound_packets"`
	Bytes    int64   `json:"bytes"`
	Viewers  int     `json:"viewers"`
}

// publisher shows a source in a room.
type publisher struct {
	o      publishOptions
	log    *slog.Logger
	source *capture.Switch
	pub    *peer.Publication

	// allowed is the bitrate that the viewers allow, most what a command does.
	allowed, most atomic.Int64
	result        published
}

// publish shows a source in a room until it ends, ctx is done or the duration is
// over.
func publish(ctx context.Context, o publishOptions, std stdio, log *slog.Logger) error {
	p := newPublisher(o, log)
	err := p.run(ctx, std)
	if p.pub == nil {
		return err
	}
	if o.json {
		return listErrors(err, printJSON(std.out, p.result))
	}
	r := p.result
	fmt.Fprintf(std.out, "published %s as %s for %.1f s: %d pictures (%d keyframes), %d packets of sound, %s, to %d viewers\n",
		r.Source, r.Codec, r.Seconds, r.Pictures, r.Keys, r.Sound, bytesText(r.Bytes), r.Viewers)
	return err
}

// newPublisher makes a publisher that has nothing to show yet.
func newPublisher(o publishOptions, log *slog.Logger) *publisher {
	p := &publisher{o: o, log: log, result: published{Room: o.room, Source: o.source.kind.name, Codec: o.source.Video.String()}}
	p.allowed.Store(int64(o.source.Bitrate))
	p.most.Store(int64(o.source.Bitrate))
	return p
}

// open opens the source, and makes the publication that it is shown by. The caller
// must close the source when the error is nil.
func (p *publisher) open(ctx context.Context) error {
	opening, cancel := context.WithTimeout(ctx, sourceGrace)
	source, err := capture.NewSwitch(opening, p.o.source.opener(p.log), p.o.source.Bitrate)
	cancel()
	switch {
	case err == nil:
	case errors.Is(context.Cause(ctx), errSignal):
		return errSignal
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: nothing came of %s within %v", capture.ErrUnavailable, p.o.source.kind.name, sourceGrace)
	default:
		return err
	}
	p.source = source
	video, audio := source.Tracks()
	p.result.Codec = video.String()
	p.o.source.Video, p.o.source.AnyVideo = video, false // what follows must be like it
	p.pub, err = peer.NewPublication(peer.PublicationConfig{
		Video: video, Audio: audio, Stream: streamPrefix + p.o.source.kind.name,
		MinBitrate: p.o.minBitrate, MaxBitrate: p.o.source.Bitrate,
		RequestKeyframe: p.wantKeyframe, SetBitrate: p.follow,
	})
	if err != nil {
		_ = source.Close() // nobody has seen it
	}
	return err
}

// streamPrefix begins the MediaStream ids of what is published, by which a page
// knows to show it large.
const streamPrefix = "roomtape-"

func (p *publisher) run(ctx context.Context, std stdio) error {
	// The source first: nobody is to see a participant who has nothing to show.
	if err := p.open(ctx); err != nil {
		return err
	}
	defer func() { _ = p.source.Close() }() // it has nothing to lose
	hush, err := serveMetrics(p.o.metrics, p.log, newPublishCollector(p.pub, p.log))
	if err != nil {
		return err
	}
	defer hush()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if p.o.control != "" {
		c := &control{log: p.log, do: func(ctx context.Context, c command) error { return p.obey(ctx, c, stop) }}
		closing, err := openControl(ctx, p.o.control, c, std)
		if err != nil {
			return err
		}
		defer closing()
	}
	room, err := p.join(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = room.Close() }() // we have left either way
	if p.o.duration > 0 {
		timer := time.AfterFunc(p.o.duration, func() { stop(nil) })
		defer timer.Stop()
	}
	go func() { stop(p.attend(ctx, room)) }()
	err = p.show(ctx)
	if lost := context.Cause(ctx); errors.Is(lost, signaling.ErrLost) {
		return lost
	}
	return err
}

// join enters the room within the join timeout.
func (p *publisher) join(ctx context.Context) (signaling.Room, error) {
	id := p.o.peerID
	if id == "" {
		id = p.o.source.kind.name + "-" + strings.ToLower(rand.Text()[:6])
	}
	return join(ctx, joinOptions{
		kind: p.o.kind, url: p.o.url, room: p.o.room, timeout: p.o.joinTimeout, peerID: id, token: p.o.token, log: p.log,
		peer: peer.Config{
			Codecs: p.codecs(), ICEServers: p.o.iceServers, RelayOnly: p.o.relayOnly, Publish: p.pub, SendOnly: true,
		},
	})
}

// codecs gives what is offered: the one that pictures have, or, for sound alone,
// any.
func (p *publisher) codecs() []media.Codec {
	if v := p.o.source.Video; v != media.CodecUnknown {
		return []media.Codec{v}
	}
	return videoCodecs()
}

// attend takes what happens in the room, and returns when it is over.
func (p *publisher) attend(ctx context.Context, room signaling.Room) error {
	for {
		ev, err := room.Next(ctx, time.Time{})
		switch {
		case err != nil:
			return err
		case ev.Packet != nil: // from somebody who sends though nobody asks
			ev.Packet.Release()
		}
	}
}

// wantKeyframe is told that a viewer needs a keyframe.
func (p *publisher) wantKeyframe() {
	p.log.Debug("a viewer needs a keyframe")
	p.source.RequestKeyframe()
}

// follow is told the bitrate that the slowest viewer can receive.
func (p *publisher) follow(bitrate int) {
	p.allowed.Store(int64(bitrate))
	p.adjust()
}

// adjust wishes for the bitrate that viewers and commands allow.
func (p *publisher) adjust() {
	bitrate := int(min(p.allowed.Load(), p.most.Load()))
	p.source.SetBitrate(bitrate)
	p.log.Info("bitrate", "bits_per_second", bitrate)
}

// obey does what a control's line says.
func (p *publisher) obey(ctx context.Context, c command, stop context.CancelCauseFunc) error {
	if c.Bitrate != nil {
		if *c.Bitrate < p.o.minBitrate || *c.Bitrate > p.o.source.Bitrate {
			return fmt.Errorf("a bitrate of %d is not within %d to %d", *c.Bitrate, p.o.minBitrate, p.o.source.Bitrate)
		}
		p.most.Store(int64(*c.Bitrate))
		p.adjust()
	}
	if c.Mute != nil {
		p.source.Mute(*c.Mute)
	}
	if c.Source != nil {
		o := p.o.source
		var err error
		if o.kind, o.what, err = findSource(*c.Source); err != nil {
			return err
		}
		opening, cancel := context.WithTimeout(ctx, sourceGrace)
		defer cancel()
		if err := p.source.Replace(opening, o.opener(p.log)); err != nil {
			return err
		}
		p.log.Info("source", "source", o.kind.name)
	}
	if c.Stop != nil && *c.Stop {
		stop(nil)
	}
	return nil
}

// show sends what the source gives until it ends or ctx is done.
func (p *publisher) show(ctx context.Context) error {
	start := time.Now()
	defer func() { p.result.Seconds = time.Since(start).Seconds() }()
	looked := start
	for {
		sample, err := p.source.Next(ctx)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		}
		r := &p.result
		r.Bytes += int64(len(sample.Frame.Data))
		if sample.Kind == media.Audio {
			r.Sound++
		} else {
			r.Pictures++
			if sample.Frame.Key {
				r.Keys++
			}
		}
		if err := p.pub.Write(sample.Kind, sample.Frame, sample.Captured); err != nil {
			return err
		}
		if now := time.Now(); now.Sub(looked) > time.Second {
			looked = now
			r.Viewers = max(r.Viewers, len(p.pub.Viewers()))
		}
	}
}

// background shows the source beside a recording, which goes on when it ends.
// The function that it gives ends showing and tells how it went.
func (p *publisher) background(ctx context.Context) (end func() error) {
	done := make(chan error, 1)
	ctx, stop := context.WithCancel(ctx)
	go func() {
		err := p.show(ctx)
		if err != nil {
			p.log.Error("publishing has ended", "error", err)
		}
		done <- err
	}()
	return func() error {
		stop()
		return <-done
	}
}
