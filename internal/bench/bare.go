package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"

	"github.com/coder/websocket"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"github.com/roomtape/roomtape/signaling/message"
)

// runBare joins the room as a newcomer, as pion's examples would: default
// codecs and interceptors, and a loop per track that reads every packet and
// throws it away. It ends with ctx.
func runBare(ctx context.Context, _ settings, url string) error {
	var engine webrtc.SettingEngine
	engine.SetIncludeLoopbackCandidate(true)
	engine.SetIPFilter(net.IP.IsLoopback)
	api := webrtc.NewAPI(webrtc.WithSettingEngine(engine))
	socket, err := dial(ctx, url, "bare")
	if err != nil {
		return err
	}
	defer socket.CloseNow()
	peers := map[string]*webrtc.PeerConnection{}
	defer func() {
		for _, pc := range peers {
			_ = pc.Close()
		}
	}()
	for {
		_, b, err := socket.Read(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		m, err := message.Parse(b)
		if err != nil {
			continue
		}
		switch m.Type {
		case message.RoomPeers:
			for _, id := range m.Peers {
				pc, err := api.NewPeerConnection(webrtc.Configuration{})
				if err != nil {
					return err
				}
				peers[id] = pc
				offer, err := bareOffer(pc)
				if err != nil {
					return fmt.Errorf("offer to %q: %w", id, err)
				}
				if err := write(ctx, socket, message.Message{Type: message.Offer, Target: id, Offer: offer}); err != nil {
					return err
				}
			}
		case message.Answer:
			if pc := peers[m.From]; pc != nil && m.Answer != nil {
				answer := webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: m.Answer.SDP}
				if err := pc.SetRemoteDescription(answer); err != nil {
					fmt.Fprintln(os.Stderr, "bench: answer:", err)
				}
			}
		case message.ICECandidate:
			addCandidate(peers[m.From], m.Candidate)
		}
	}
}

func bareOffer(pc *webrtc.PeerConnection) (*message.Description, error) {
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		if _, err := pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			return nil, err
		}
	}
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		if track.Kind() == webrtc.RTPCodecTypeVideo {
			_ = pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(track.SSRC())}})
		}
		for {
			if _, _, err := track.ReadRTP(); err != nil {
				return
			}
		}
	})
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		return nil, err
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(offer); err != nil {
		return nil, err
	}
	<-gathered
	return &message.Description{Type: "offer", SDP: pc.LocalDescription().SDP}, nil
}

func dial(ctx context.Context, url, id string) (*websocket.Conn, error) {
	socket, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		return nil, err
	}
	socket.SetReadLimit(message.MaxSize)
	return socket, write(ctx, socket, message.Message{Type: message.Join, PeerID: id, RoomID: room})
}

func write(ctx context.Context, socket *websocket.Conn, m message.Message) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return socket.Write(ctx, websocket.MessageText, b)
}

func addCandidate(pc *webrtc.PeerConnection, c *message.Candidate) {
	if pc == nil || c == nil {
		return
	}
	// A candidate that does not fit is one path less, no more.
	_ = pc.AddICECandidate(webrtc.ICECandidateInit{Candidate: c.Candidate, SDPMid: c.SDPMid, SDPMLineIndex: c.SDPMLineIndex})
}
