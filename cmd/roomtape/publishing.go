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

	// target is the bitrate that the viewers allow.
	target atomic.Int64
	result published
}

// publish shows a source in a room until it ends, ctx is done or the duration is
// over.
func publish(ctx context.Context, o publishOptions, std stdio, log *slog.Logger) error {
	p := &publisher{o: o, log: log, result: published{Room: o.room, Source: o.source.kind.name, Codec: o.source.Video.String()}}
	err := p.run(ctx)
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

func (p *publisher) run(ctx context.Context) error {
	// The source first: nobody is to see a participant who has nothing to show.
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
	defer func() { _ = source.Close() }() // it has nothing to lose

	p.pub, err = peer.NewPublication(peer.PublicationConfig{
		Video: p.o.source.Video, Audio: p.o.source.Audio, Stream: p.o.source.kind.name,
		MinBitrate: p.o.minBitrate, MaxBitrate: p.o.source.Bitrate,
		RequestKeyframe: source.RequestKeyframe, SetBitrate: p.follow,
	})
	if err != nil {
		return err
	}
	room, err := p.join(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = room.Close() }()
	if p.o.duration > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, p.o.duration)
		defer stop()
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() { stop(p.attend(ctx, room)) }()
	start := time.Now()
	err = p.show(ctx)
	p.result.Seconds = time.Since(start).Seconds()
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
	return join(ctx, recordOptions{
		kind: p.o.kind, url: p.o.url, room: p.o.room, peerID: id, joinTimeout: p.o.joinTimeout,
		codecs: []media.Codec{p.o.source.Video}, iceServers: p.o.iceServers, relayOnly: p.o.relayOnly,
		publish: p.pub, sendOnly: true,
	}, p.log)
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

// follow is told the bitrate that the slowest viewer can receive.
func (p *publisher) follow(bitrate int) {
	p.target.Store(int64(bitrate))
	p.source.SetBitrate(bitrate)
	p.log.Info("bitrate", "bits_per_second", bitrate)
}

// show sends what the source gives until it ends or ctx is done.
func (p *publisher) show(ctx context.Context) error {
	looked := time.Now()
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
