package peer

import (
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/message"
	credentials "github.com/roomtape/roomtape/signaling/turn"
)

// TestRelayOnlyGoesThroughTheRelay has a TURN server carry a call by the
// address and password that a flag would give.
func TestRelayOnlyGoesThroughTheRelay(t *testing.T) {
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const realm, user, password = "test", "rec", "p@ss"
	var asked atomic.Int64
	relay, err := turn.NewServer(turn.ServerConfig{
		Realm: realm,
		AuthHandler: func(r *turn.RequestAttributes) (string, []byte, bool) {
			asked.Add(1)
			return r.Username, turn.GenerateAuthKey(user, realm, password), r.Username == user
		},
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn:            socket,
			RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = relay.Close() })

	ice, err := ParseICEServer("turn:" + user + ":p%40ss@" + socket.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	f := newTestFactory(t, Config{ICEServers: []ICEServer{ice}, RelayOnly: true})
	s := newSender(t, webrtc.MimeTypeVP8)
	log := newEventLog()
	c := connect(t, f, Options{Participant: "p", Connection: 1, Sink: log.sink, OnCandidate: s.trickle(t)})
	s.answer(t, c)
	const n = 50
	s.send(t, 0, 1, n)
	log.until(t, "all packets", func(e []signaling.Event) bool { return count(e, signaling.PacketArrived) == n })
	if relay.AllocationCount() == 0 || asked.Load() == 0 {
		t.Errorf("%d allocations, %d requests", relay.AllocationCount(), asked.Load())
	}
}

// trickle gives what passes candidates on to s once it has an offer.
func (s *sender) trickle(t *testing.T) func(message.Candidate) {
	t.Helper()
	offered := make(chan struct{})
	s.pc.OnSignalingStateChange(func(st webrtc.SignalingState) {
		if st == webrtc.SignalingStateHaveRemoteOffer {
			close(offered)
		}
	})
	candidates := make(chan message.Candidate, 100)
	done := make(chan struct{})
	t.Cleanup(func() { <-done })
	go func() {
		defer close(done)
		select {
		case <-offered:
		case <-t.Context().Done():
			return
		}
		for {
			select {
			case m := <-candidates:
				err := s.pc.AddICECandidate(webrtc.ICECandidateInit{Candidate: m.Candidate, SDPMid: m.SDPMid, SDPMLineIndex: m.SDPMLineIndex})
				if err != nil {
					t.Errorf("candidate %q: %v", m.Candidate, err)
				}
			case <-s.up:
				return
			case <-t.Context().Done():
				return
			}
		}
	}()
	return func(m message.Candidate) { candidates <- m }
}

// TestRestartRenewsCredentials: what is made of a secret is valid from when it is
// used, not from when the connection was made.
func TestRestartRenewsCredentials(t *testing.T) {
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const realm, secret = "test", "north"
	expiries := make(chan int64, 1000)
	relay, err := turn.NewServer(turn.ServerConfig{
		Realm: realm,
		AuthHandler: func(r *turn.RequestAttributes) (string, []byte, bool) {
			expires, name, err := credentials.ParseUsername(r.Username)
			if r.Method == stun.MethodAllocate {
				expiries <- expires
			}
			c := credentials.NewCredentials(secret, name, time.Unix(expires, 0))
			return name, turn.GenerateAuthKey(c.Username, realm, c.Password), err == nil && name == "rec"
		},
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn:            socket,
			RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = relay.Close() })
	ice, err := ParseICEServerWithSecret("turn:"+socket.LocalAddr().String(), secret, "rec")
	if err != nil {
		t.Fatal(err)
	}
	f := newTestFactory(t, Config{ICEServers: []ICEServer{ice}, RelayOnly: true})
	s := newSender(t, webrtc.MimeTypeVP8)
	c := connect(t, f, Options{Participant: "p", Connection: 1, OnCandidate: s.trickle(t)})
	s.answer(t, c)
	first := <-expiries
	if in := time.Until(time.Unix(first, 0)); in < 23*time.Hour || in > 25*time.Hour {
		t.Errorf("they expire in %v", in)
	}
	<-time.After(time.Until(time.Unix(first+1, 0).Add(-credentials.DefaultTTL))) // they are told apart by the second
	if _, err := c.Offer(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.After(patience); ; {
		select {
		case e := <-expiries:
			if e > first {
				return
			}
		case <-deadline:
			t.Fatal("the relay was asked with the old credentials only")
		}
	}
}

// TestUnusableRelayIsTold: with a wrong password, and with a server that is not
// there, it is said which one it is and why, once, and that nobody can be
// reached.
func TestUnusableRelayIsTold(t *testing.T) {
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	relay, err := turn.NewServer(turn.ServerConfig{
		Realm: "test",
		AuthHandler: func(r *turn.RequestAttributes) (string, []byte, bool) {
			return r.Username, turn.GenerateAuthKey("rec", "test", "right"), true
		},
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn:            socket,
			RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = relay.Close() })
	gone, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	for name, tt := range map[string]struct{ server, why string }{
		"wrong password": {socket.LocalAddr().String(), "user and password"},
		"not there":      {gone.Addr().String() + "?transport=tcp", "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			ice, err := ParseICEServer("turn:rec:hunter2@" + tt.server)
			if err != nil {
				t.Fatal(err)
			}
			told := make(chan error, 10)
			f := newTestFactory(t, Config{ICEServers: []ICEServer{ice}, RelayOnly: true, OnRelayFailure: func(err error) { told <- err }})
			for range 2 {
				if _, err := connect(t, f, Options{}).Offer(); err != nil {
					t.Fatal(err)
				}
			}
			host, _, _ := strings.Cut(tt.server, "?")
			for _, want := range []func(error) bool{
				func(err error) bool {
					text := err.Error()
					return strings.Contains(text, host) && strings.Contains(text, tt.why) && !strings.Contains(text, "hunter2")
				},
				func(err error) bool { return errors.Is(err, ErrNoRelay) },
			} {
				select {
				case err := <-told:
					if !want(err) {
						t.Errorf("told: %v", err)
					}
				case <-time.After(patience):
					t.Fatal("it is not told")
				}
			}
			if len(told) > 0 {
				t.Errorf("told once more: %v", <-told)
			}
		})
	}
}
