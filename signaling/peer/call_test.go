package peer_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/internal/netsim"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/message"
	"github.com/roomtape/roomtape/signaling/peer"
)

// TestLostPacketsComeAgain: on a bad network, every frame is as it was sent.
func TestLostPacketsComeAgain(t *testing.T) {
	netsim.Run(t, netsim.Config{Loss: 0.08, Delay: 30 * time.Millisecond, Duplicate: 0.02, Reorder: 0.02}, func(n *netsim.Net) {
		t, w := n.T(), &witness{}
		c := must[*peer.Conn](t)(newFactory(n, peer.Config{}).Connect(w.options()))
		p := n.Publisher(netsim.PublisherConfig{})
		if err := c.Accept(p.Answer(must[message.Description](t)(c.Offer()))); err != nil {
			t.Fatal(err)
		}
		p.Start()
		time.Sleep(20 * time.Second)
		n.SetLoss(0) // a loss at the very end could not be noticed
		time.Sleep(time.Second)
		p.Stop()
		time.Sleep(3 * time.Second)
		whole, right := w.frames(w.track(media.Video))
		if sent := len(p.SentVideo()); !right || whole != sent {
			t.Errorf("%d of %d frames, right: %v", whole, sent, right)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		var again int
		for _, k := range []media.Kind{media.Audio, media.Video} {
			tr := w.track(k)
			for _, pk := range w.packets[tr] {
				if pk.SSRC != tr.SSRC || tr.Codecs[pk.PayloadType] == media.CodecUnknown {
					t.Fatalf("packet of %d, payload type %d, on %+v", pk.SSRC, pk.PayloadType, tr)
				}
				if pk.Recovered {
					again++
				}
			}
		}
		if again < 50 {
			t.Errorf("%d packets came by RTX", again)
		}
	})
}

// TestPeerRestartsICE: an offer with new credentials on the same connection
// keeps the tracks; one of another connection is told from it.
func TestPeerRestartsICE(t *testing.T) {
	netsim.Run(t, netsim.Config{Delay: 10 * time.Millisecond}, func(n *netsim.Net) {
		t, w := n.T(), &witness{}
		c := must[*peer.Conn](t)(newFactory(n, peer.Config{}).Connect(w.options()))
		p := n.Publisher(netsim.PublisherConfig{})
		offer := p.Offer()
		if c.Continues(offer) {
			t.Error("a first offer continues nothing")
		}
		p.Accept(must[message.Description](t)(c.Answer(offer)))
		p.Start()
		time.Sleep(2 * time.Second)
		n.SetDown(true)
		time.Sleep(9 * time.Second)
		if c.State() != peer.Disconnected {
			t.Errorf("state is %v with the network down", c.State())
		}
		n.SetDown(false)
		d := must[webrtc.SessionDescription](t)(p.PC.CreateOffer(&webrtc.OfferOptions{ICERestart: true}))
		gathered := webrtc.GatheringCompletePromise(p.PC)
		if err := p.PC.SetLocalDescription(d); err != nil {
			t.Fatal(err)
		}
		<-gathered
		restart := message.Description{Type: "offer", SDP: p.PC.LocalDescription().SDP}
		if !c.Continues(restart) {
			t.Error("the restart is not told as one")
		}
		if c.Continues(n.Publisher(netsim.PublisherConfig{}).Offer()) {
			t.Error("another connection's offer is taken for a restart")
		}
		p.Accept(must[message.Description](t)(c.Answer(restart)))
		time.Sleep(2 * time.Second)
		before := w.count(w.track(media.Video))
		time.Sleep(2 * time.Second)
		p.Stop()
		if c.State() != peer.Connected || len(w.started) != 2 || w.ended != 0 {
			t.Errorf("state %v, %d tracks started, %d ended", c.State(), len(w.started), w.ended)
		}
		if after := w.count(w.track(media.Video)); after < before+100 {
			t.Errorf("%d packets before, %d after", before, after)
		}
	})
}

// TestWeRestartICE: our own restart keeps the tracks too, of a connection that is
// disconnected or has failed, whoever made the first offer.
func TestWeRestartICE(t *testing.T) {
	for name, tt := range map[string]struct {
		outage time.Duration
		ours   bool
		state  peer.State
	}{
		"short, ours":   {9 * time.Second, true, peer.Disconnected},
		"long, ours":    {45 * time.Second, true, peer.Failed},
		"short, theirs": {9 * time.Second, false, peer.Disconnected},
	} {
		t.Run(name, func(t *testing.T) {
			netsim.Run(t, netsim.Config{Delay: 10 * time.Millisecond}, func(n *netsim.Net) {
				t, w := n.T(), &witness{}
				o := w.options()
				trickled := map[string]bool{}
				o.OnCandidate = func(m message.Candidate) {
					w.mu.Lock()
					defer w.mu.Unlock()
					trickled[*m.UsernameFragment] = true
				}
				c := must[*peer.Conn](t)(newFactory(n, peer.Config{}).Connect(o))
				p := n.Publisher(netsim.PublisherConfig{})
				if tt.ours {
					if err := c.Accept(p.Answer(must[message.Description](t)(c.Offer()))); err != nil {
						t.Fatal(err)
					}
				} else {
					p.Accept(must[message.Description](t)(c.Answer(p.Offer())))
				}
				p.Start()
				time.Sleep(2 * time.Second)
				n.SetDown(true)
				time.Sleep(tt.outage)
				if c.State() != tt.state {
					t.Errorf("state is %v with the network down", c.State())
				}
				n.SetDown(false)
				restart := must[message.Description](t)(c.Offer())
				if _, err := c.Offer(); !errors.Is(err, peer.ErrPending) {
					t.Errorf("a second restart: %v", err)
				}
				if _, err := c.Answer(restart); !errors.Is(err, peer.ErrPending) {
					t.Errorf("an offer that crosses ours: %v", err)
				}
				answer := p.Answer(restart)
				// Candidates that are faster than their answer are not lost.
				for line := range strings.Lines(answer.SDP) {
					if cand, ok := strings.CutPrefix(strings.TrimSpace(line), "a=candidate:"); ok {
						_, after, _ := strings.Cut(answer.SDP, "a=ice-ufrag:")
						ufrag := strings.Fields(after)[0]
						if err := c.AddCandidate(message.Candidate{Candidate: "candidate:" + cand, UsernameFragment: &ufrag}); err != nil {
							t.Error(err)
						}
					}
				}
				var bare []string
				for line := range strings.Lines(answer.SDP) {
					if !strings.HasPrefix(line, "a=candidate:") {
						bare = append(bare, line)
					}
				}
				answer.SDP = strings.Join(bare, "")
				if !c.Continues(answer) {
					t.Error("the answer is not told as this connection's")
				}
				if err := c.Accept(answer); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second)
				before := w.count(w.track(media.Video))
				time.Sleep(2 * time.Second)
				p.Stop()
				if c.State() != peer.Connected || len(w.started) != 2 || w.ended != 0 {
					t.Errorf("state %v, %d tracks started, %d ended", c.State(), len(w.started), w.ended)
				}
				if after := w.count(w.track(media.Video)); after < before+100 {
					t.Errorf("%d packets before, %d after", before, after)
				}
				w.mu.Lock()
				defer w.mu.Unlock()
				if len(trickled) != 2 || !trickled[strings.Fields(strings.SplitN(restart.SDP, "a=ice-ufrag:", 2)[1])[0]] {
					t.Errorf("our candidates are of the generations %v", trickled)
				}
			})
		})
	}
}

// TestAddressChangeIsTold: a connection whose address is gone is told so within
// about a second, once, and a restart makes it go on by the new one.
func TestAddressChangeIsTold(t *testing.T) {
	netsim.Run(t, netsim.Config{Delay: 10 * time.Millisecond}, func(n *netsim.Net) {
		t, w := n.T(), &witness{}
		host := n.Host()
		told, stranded := make(chan []netip.Addr, 10), make(chan time.Time, 10)
		f := must[*peer.Factory](t)(peer.NewFactory(peer.Config{Net: host, OnAddresses: func(now []netip.Addr) { told <- now }}))
		n.Cleanup(func() { _ = f.Close() })
		o := w.options()
		o.OnStranded = func() { stranded <- time.Now() }
		c := must[*peer.Conn](t)(f.Connect(o))
		p := n.Publisher(netsim.PublisherConfig{})
		if err := c.Accept(p.Answer(must[message.Description](t)(c.Offer()))); err != nil {
			t.Fatal(err)
		}
		p.Start()
		time.Sleep(5 * time.Second)
		if len(told)+len(stranded) > 0 {
			t.Errorf("told %d times, %d stranded, before anything happened", len(told), len(stranded))
		}
		n.Move(host)
		moved := time.Now()
		if d := (<-stranded).Sub(moved); d > 1500*time.Millisecond {
			t.Errorf("told after %v", d)
		}
		if err := c.Accept(p.Answer(must[message.Description](t)(c.Offer()))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		before := w.count(w.track(media.Video))
		time.Sleep(2 * time.Second)
		p.Stop()
		if after := w.count(w.track(media.Video)); after < before+100 || len(w.started) != 2 || w.ended != 0 {
			t.Errorf("%d packets before, %d after; %d tracks started, %d ended", before, after, len(w.started), w.ended)
		}
		if len(told) != 1 || len(stranded) != 0 {
			t.Errorf("told %d times, stranded %d times more", len(told), len(stranded))
		}
	})
}

// TestStatesAndMessages: the life of a connection, and text both ways.
func TestStatesAndMessages(t *testing.T) {
	netsim.Run(t, netsim.Config{}, func(n *netsim.Net) {
		t, w := n.T(), &witness{}
		c := must[*peer.Conn](t)(newFactory(n, peer.Config{Only: media.Video}).Connect(w.options()))
		if err := c.Send(peer.Messages, nil); !errors.Is(err, peer.ErrChannel) {
			t.Errorf("without a channel: %v", err)
		}
		p := n.Publisher(netsim.PublisherConfig{})
		var heard []string
		p.PC.OnDataChannel(func(dc *webrtc.DataChannel) {
			dc.OnMessage(func(m webrtc.DataChannelMessage) {
				w.mu.Lock()
				defer w.mu.Unlock()
				heard = append(heard, dc.Label()+": "+string(m.Data))
			})
			dc.OnOpen(func() { _ = dc.SendText("hello") })
		})
		offer := must[message.Description](t)(c.Offer())
		if strings.Contains(offer.SDP, "m=audio") || strings.Count(offer.SDP, "m=video") != 2 {
			t.Errorf("offer is %s", offer.SDP)
		}
		if err := c.Send(peer.Messages, []byte("early")); err != nil {
			t.Error(err)
		}
		if err := c.Accept(p.Answer(offer)); err != nil {
			t.Fatal(err)
		}
		p.Start()
		time.Sleep(time.Second)
		if err := c.Send(peer.Messages, []byte("late")); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		w.mu.Lock()
		got := fmt.Sprint(heard, w.messages)
		w.mu.Unlock()
		if got != "[messages: early messages: late] [messages: hello]" {
			t.Errorf("heard %v", got)
		}
		if len(w.started) != 1 {
			t.Errorf("%d tracks", len(w.started))
		}
		p.Close()
		time.Sleep(time.Minute)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := fmt.Sprint(w.states); got != "[connecting connected disconnected failed closed]" || w.ended != 1 {
			t.Errorf("states %v, %d tracks ended", got, w.ended)
		}
		if _, err := c.Offer(); !errors.Is(err, peer.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// TestBadPeersAreRefused: what is no description or candidate gives an error,
// and the factory's other connections live on.
func TestBadPeersAreRefused(t *testing.T) {
	netsim.Run(t, netsim.Config{}, func(n *netsim.Net) {
		t, w := n.T(), &witness{}
		f := newFactory(n, peer.Config{})
		good := must[*peer.Conn](t)(f.Connect(w.options()))
		p := n.Publisher(netsim.PublisherConfig{})
		p.Accept(must[message.Description](t)(good.Answer(p.Offer())))

		valid := n.Publisher(netsim.PublisherConfig{}).Offer().SDP
		for name, d := range map[string]message.Description{
			"empty":         {Type: "offer"},
			"wrong type":    {Type: "answer", SDP: valid},
			"garbage":       {Type: "offer", SDP: "\x00\xff\xfe garbage"},
			"cut":           {Type: "offer", SDP: valid[:len(valid)/3]},
			"giant":         {Type: "offer", SDP: valid + strings.Repeat("a=x\r\n", peer.MaxDescription)},
			"many sections": {Type: "offer", SDP: valid + strings.Repeat("m=audio 9 RTP/AVP 0\r\n", 300)},
			"no mids":       {Type: "offer", SDP: strings.ReplaceAll(valid, "a=mid:", "a=mud:")},
			"no ICE":        {Type: "offer", SDP: strings.ReplaceAll(valid, "a=ice-ufrag:", "a=nothing:")},
			"no keys":       {Type: "offer", SDP: strings.ReplaceAll(valid, "a=fingerprint:", "a=nothing:")},
		} {
			c := must[*peer.Conn](t)(f.Connect(peer.Options{}))
			if _, err := c.Answer(d); !errors.Is(err, peer.ErrDescription) {
				t.Errorf("%s: %v", name, err)
			}
			if err := c.Close(); err != nil {
				t.Errorf("%s: closing: %v", name, err)
			}
		}

		c := must[*peer.Conn](t)(f.Connect(peer.Options{}))
		must[message.Description](t)(c.Answer(message.Description{Type: "offer", SDP: valid}))
		for _, bad := range []string{"candidate:", "", "candidate:1 1 udp 1 host.invalid 1 typ host"} {
			if err := c.AddCandidate(message.Candidate{Candidate: bad}); err != nil {
				t.Errorf("%q: %v", bad, err)
			}
		}
		for _, bad := range []string{"x", "candidate:1 1 udp", "candidate:1 1 udp 1 10.0.0.1 99999 typ host", strings.Repeat("x", 5000)} {
			if err := c.AddCandidate(message.Candidate{Candidate: bad}); !errors.Is(err, peer.ErrCandidate) {
				t.Errorf("%.20q: %v", bad, err)
			}
		}
		early := must[*peer.Conn](t)(f.Connect(peer.Options{}))
		for i := range peer.MaxCandidates + 1 {
			err := early.AddCandidate(message.Candidate{Candidate: "candidate:1 1 udp 1 10.0.0.1 1 typ host"})
			if (err != nil) != (i == peer.MaxCandidates) {
				t.Errorf("candidate %d: %v", i, err)
			}
		}

		p.Start()
		time.Sleep(time.Second)
		if w.count(w.track(media.Video)) < 50 {
			t.Error("the good connection suffered")
		}
	})
}
