package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/pion/webrtc/v4"
)

// janus is a Janus gateway with its VideoRoom plugin, driven by its API over a
// WebSocket (https://janus.conf.meetecho.com/docs/rest.html, videoroom.html).
type janus struct {
	binary, dir, url string
	opened           bool // the room is there
}

func (*janus) name() string { return "janus" }

// janusFiles is a configuration with nothing in it that is not needed.
var janusFiles = map[string]string{
	"janus.jcfg": `
general: { debug_level = 2, session_timeout = 0, log_to_stdout = true, protected_folders = [] }
media: { ipv6 = false }
nat: { nice_debug = false, full_trickle = false }
plugins: { disable = "libjanus_audiobridge.so,libjanus_duktape.so,libjanus_echotest.so,libjanus_lua.so,libjanus_nosip.so,libjanus_recordplay.so,libjanus_sip.so,libjanus_streaming.so,libjanus_textroom.so,libjanus_videocall.so,libjanus_voicemail.so" }
transports: { disable = "libjanus_http.so,libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so,libjanus_rabbitmq.so" }
events: { broadcast = false }
`,
	"janus.plugin.videoroom.jcfg":     "general: { }\n",
	"janus.transport.websockets.jcfg": "general: { json = \"compact\", ws = true, ws_port = %d, ws_ip = \"127.0.0.1\", wss = false }\n",
}

func (j *janus) start(ctx context.Context) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil { // for Janus, which takes no port 0
		return nil, err
	}
	dir, err := os.MkdirTemp(j.dir, "janus")
	if err != nil {
		return nil, err
	}
	for name, content := range janusFiles {
		if name == "janus.transport.websockets.jcfg" {
			content = fmt.Sprintf(content, port)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, j.binary, "--configs-folder="+dir)
	said, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer said.Close()
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	j.url, j.opened = fmt.Sprintf("ws://127.0.0.1:%d", port), false
	for range 100 {
		var c net.Conn
		if c, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return cmd, c.Close()
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	b, _ := os.ReadFile(said.Name())
	return nil, errors.Join(fmt.Errorf("starting Janus: %w\n%s", err, b), cmd.Process.Kill(), cmd.Wait())
}

// caller is a participant's session with Janus.
type caller struct {
	crowd   *crowd
	index   int
	socket  *websocket.Conn
	session uint64
	handle  uint64 // of the publisher

	mu      sync.Mutex
	waiting map[string]chan reply
	asked   int
}

// reply is what Janus answers: an acknowledgement first, where the result comes
// later.
type reply struct {
	Janus       string `json:"janus"`
	Transaction string `json:"transaction"`
	Data        struct {
		ID uint64 `json:"id"`
	} `json:"data"`
	Error *struct {
		Reason string `json:"reason"`
	} `json:"error"`
	PluginData struct {
		Data struct {
			Error string `json:"error"`
		} `json:"data"`
	} `json:"plugindata"`
	JSEP *description `json:"jsep"`
}

type description struct {
	Type string `json:"type"`
	SDP  string `json:"sdp"`
}

// janusRoom is the room's number, which Janus wants to be one.
const janusRoom = 1234

func (j *janus) join(ctx context.Context, c *crowd, p *publisher) (member, error) {
	socket, _, err := websocket.Dial(ctx, j.url, &websocket.DialOptions{Subprotocols: []string{"janus-protocol"}})
	if err != nil {
		return nil, err
	}
	socket.SetReadLimit(1 << 20)
	g := &caller{crowd: c, index: p.index, socket: socket, waiting: map[string]chan reply{}}
	c.wg.Go(func() {
		defer socket.CloseNow()
		g.serve(ctx)
	})
	r, err := g.ask(ctx, map[string]any{"janus": "create"})
	if err != nil {
		return nil, fmt.Errorf("making a session: %w", err)
	}
	g.session = r.Data.ID
	if g.handle, err = g.attach(ctx); err != nil {
		return nil, err
	}
	if !j.opened {
		if _, err := g.tell(ctx, g.handle, map[string]any{
			"request": "create", "room": janusRoom, "publishers": c.participants, "audiocodec": "opus", "videocodec": "vp8",
			"bitrate": 0, "audiolevel_event": false,
		}, nil); err != nil {
			return nil, fmt.Errorf("making a room: %w", err)
		}
		j.opened = true
	}
	pc, err := c.connect(p.index)
	if err != nil {
		return nil, err
	}
	if err := c.send(pc, p); err != nil {
		return nil, err
	}
	d, err := pc.CreateOffer(nil)
	if err != nil {
		return nil, err
	}
	offer, err := describe(pc, d)
	if err != nil {
		return nil, err
	}
	r, err = g.tell(ctx, g.handle, map[string]any{
		"request": "joinandconfigure", "ptype": "publisher", "room": janusRoom, "id": feed(p.index), "audio": true, "video": true,
	}, &description{"offer", offer})
	if err != nil {
		return nil, fmt.Errorf("publishing: %w", err)
	}
	if r.JSEP == nil {
		return nil, errors.New("publishing: no answer in the reply")
	}
	return g, pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: r.JSEP.SDP})
}

// feed is a publisher's number, which must not be 0.
func feed(index int) int { return index + 1 }

func (g *caller) subscribe(ctx context.Context, others []int) error {
	handle, err := g.attach(ctx)
	if err != nil {
		return err
	}
	var streams []map[string]int
	for _, o := range others {
		streams = append(streams, map[string]int{"feed": feed(o)})
	}
	var r reply
	for range 50 { // a feed is there when its connection is
		r, err = g.tell(ctx, handle, map[string]any{"request": "join", "ptype": "subscriber", "room": janusRoom, "streams": streams}, nil)
		if err == nil || ctx.Err() != nil || !strings.HasPrefix(err.Error(), "No such feed") {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	if r.JSEP == nil {
		return errors.New("no offer in the reply")
	}
	pc, err := g.crowd.connect(g.index)
	if err != nil {
		return err
	}
	d, err := answer(pc, r.JSEP.SDP)
	if err != nil {
		return err
	}
	_, err = g.tell(ctx, handle, map[string]any{"request": "start"}, &description{"answer", d})
	return err
}

func (g *caller) attach(ctx context.Context) (uint64, error) {
	r, err := g.ask(ctx, map[string]any{"janus": "attach", "session_id": g.session, "plugin": "janus.plugin.videoroom"})
	if err != nil {
		return 0, fmt.Errorf("attaching to the VideoRoom: %w", err)
	}
	return r.Data.ID, nil
}

// tell asks something of the VideoRoom.
func (g *caller) tell(ctx context.Context, handle uint64, body map[string]any, jsep *description) (reply, error) {
	m := map[string]any{"janus": "message", "session_id": g.session, "handle_id": handle, "body": body}
	if jsep != nil {
		m["jsep"] = jsep
	}
	return g.ask(ctx, m)
}

// ask sends a request and waits for its result.
func (g *caller) ask(ctx context.Context, m map[string]any) (reply, error) {
	got := make(chan reply, 4)
	g.mu.Lock()
	g.asked++
	transaction := fmt.Sprintf("%d-%d", g.index, g.asked)
	g.waiting[transaction] = got
	g.mu.Unlock()
	m["transaction"] = transaction
	b, err := json.Marshal(m)
	if err != nil {
		return reply{}, err
	}
	if err := g.socket.Write(ctx, websocket.MessageText, b); err != nil {
		return reply{}, err
	}
	for {
		select {
		case r := <-got:
			switch {
			case r.Error != nil:
				return r, errors.New(r.Error.Reason)
			case r.PluginData.Data.Error != "":
				return r, errors.New(r.PluginData.Data.Error)
			case r.Janus != "ack":
				return r, nil
			}
		case <-time.After(15 * time.Second):
			return reply{}, errors.New("no answer of Janus")
		case <-ctx.Done():
			return reply{}, ctx.Err()
		}
	}
}

func (g *caller) serve(ctx context.Context) {
	for {
		_, b, err := g.socket.Read(ctx)
		if err != nil {
			return
		}
		var r reply
		if json.Unmarshal(b, &r) != nil {
			continue
		}
		g.mu.Lock()
		to := g.waiting[r.Transaction]
		g.mu.Unlock()
		if to != nil {
			select {
			case to <- r:
			default: // nobody waits any more
			}
		}
	}
}

// answer takes an offer and gives the answer to it.
func answer(pc *webrtc.PeerConnection, offer string) (string, error) {
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", err
	}
	d, err := pc.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	return describe(pc, d)
}

func describe(pc *webrtc.PeerConnection, d webrtc.SessionDescription) (string, error) {
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(d); err != nil {
		return "", err
	}
	<-gathered
	return pc.LocalDescription().SDP, nil
}
