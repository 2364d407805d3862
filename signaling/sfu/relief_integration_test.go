//go:build integration

package sfu

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/message"
)

// lines is a log that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

// TestPoorSubscriberIsSentLess has a subscriber say that it can receive next to
// nothing, and then that it can receive everything.
func TestPoorSubscriberIsSentLess(t *testing.T) {
	t.Parallel()
	const publishers = 3
	log := &lines{}
	v := openVenue(t, slog.New(slog.NewTextHandler(log, nil)))
	v.simulcast(publishers)
	// One that says nothing by itself of what it receives.
	silent := webrtc.NewAPI(webrtc.WithSettingEngine(clientSettings()), webrtc.WithInterceptorRegistry(&interceptor.Registry{}))
	bob, err := prepareWith(silent, v.url, "bob")
	if err != nil {
		t.Fatal(err)
	}
	v.clients["bob"] = bob
	if err := bob.begin(); err != nil {
		t.Fatal(err)
	}
	for known := 0; known < publishers; {
		if m := <-bob.heard; m.Type == message.TrackAvailable {
			known++
			if err := bob.write(message.Message{Type: message.SubscribeTrack, PublisherID: m.ParticipantID, TrackID: m.TrackID}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var ssrcs []uint32
	for range publishers {
		track := <-bob.media
		ssrcs = append(ssrcs, uint32(track.SSRC()))
	}
	// sent tells how many tracks are sent by their least encoding, by their best,
	// and not at all.
	sent := func() (least, best, none int, poor bool) {
		s := v.unit.Stats()
		for _, f := range s.Tracks {
			switch {
			case f.Kind != media.Video:
			case f.Layer < 0:
				none++
			case f.Layer == 0:
				least++
			case f.Layer == f.Layers-1 && f.Layers == 3:
				best++
			}
		}
		return least, best, none, len(s.Subscribers) == 1 && s.Subscribers[0].Poor
	}
	receivable := func(bitrate float32, lost uint8) {
		for range 6 { // it is smoothed
			if err := bob.pc.WriteRTCP([]rtcp.Packet{
				&rtcp.ReceiverEstimatedMaximumBitrate{Bitrate: bitrate, SSRCs: ssrcs},
				&rtcp.ReceiverReport{Reports: []rtcp.ReceptionReport{{SSRC: ssrcs[0], FractionLost: lost}}},
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "everything is sent", func() bool { _, best, _, poor := sent(); return best == publishers && !poor })
	receivable(50_000, 50) // they take 24 kbit/s each
	eventually(t, "one picture is sent, and by its least encoding", func() bool {
		least, _, none, poor := sent()
		return poor && least == 1 && none == publishers-1
	})
	if n := log.count("becomes poor"); n != 1 || log.count("pictures are left out") != 1 || log.count("recovered") != 0 {
		t.Errorf("%d log lines of it", n)
	}
	receivable(20_000_000, 0)
	eventually(t, "everything is sent again", func() bool { _, best, _, poor := sent(); return best == publishers && !poor })
	if n := log.count("has recovered"); n != 1 {
		t.Errorf("%d log lines that it has recovered", n)
	}
}
