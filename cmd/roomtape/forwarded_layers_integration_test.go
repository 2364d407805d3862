//go:build integration

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/media/dependency"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling"
	"github.com/roomtape/roomtape/signaling/message"
)

// wisher stands before a room server, and has one client wish for tracks in a quality
// that the test says.
type wisher struct {
	server string
	ctx    context.Context

	mu      sync.Mutex
	quality string
	socket  *websocket.Conn
	asked   []message.Message
}

// wishing gives a room's URL for one client, who wishes for this quality.
func wishing(t *testing.T, room, quality string) (string, *wisher) {
	t.Helper()
	u, err := url.Parse(room)
	if err != nil {
		t.Fatal(err)
	}
	w := &wisher{server: "ws://" + u.Host, ctx: t.Context(), quality: quality}
	front := httptest.NewServer(w)
	t.Cleanup(front.Close)
	return "ws" + strings.TrimPrefix(front.URL, "http") + u.Path, w
}

// ServeHTTP implements http.Handler.
func (w *wisher) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	u := w.server + r.URL.Path
	if r.URL.RawQuery != "" {
		u += "?" + r.URL.RawQuery
	}
	server, _, err := websocket.Dial(w.ctx, u, nil)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadGateway)
		return
	}
	defer func() { _ = server.CloseNow() }()
	client, err := websocket.Accept(rw, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer func() { _ = client.CloseNow() }()
	w.mu.Lock()
	w.socket = server
	w.mu.Unlock()
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	go w.pass(ctx, server, client, func(b []byte) []byte { return b })
	w.pass(ctx, client, server, w.change)
}

func (w *wisher) pass(ctx context.Context, from, to *websocket.Conn, change func([]byte) []byte) {
	from.SetReadLimit(message.MaxSize * 2)
	for {
		kind, b, err := from.Read(ctx)
		if err == nil {
			err = to.Write(ctx, kind, change(b))
		}
		if err != nil {
			_ = to.Close(websocket.StatusNormalClosure, "")
			return
		}
	}
}

func (w *wisher) change(b []byte) []byte {
	var m message.Message
	if json.Unmarshal(b, &m) != nil || m.Type != message.SubscribeTrack {
		return b
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, m)
	m.Quality = w.quality
	b, _ = json.Marshal(m)
	return b
}

// wish has the client wish for another quality of all that it is subscribed to.
func (w *wisher) wish(t *testing.T, quality string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.quality = quality
	for _, m := range w.asked {
		m.Quality = quality
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.socket.Write(t.Context(), websocket.MessageText, b); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLayersAreForwarded has a real page send layers of one source to a room that is
// forwarded. A recorder has all of them, one wishes for little, one for something
// else every other second, and so does another page. What each of them gets decodes.
func TestLayersAreForwarded(t *testing.T) {
	b := browser.Start(t)
	for _, c := range []struct {
		codec, mode string
		least       int // width of the least picture
	}{
		{"VP8", "L1T3", 960}, {"VP9", "L3T3_KEY", 240},
		{"AV1", "L1T3", 960}, {"AV1", "L3T3_KEY", 240}, {"AV1", "L2T3", 480},
	} {
		t.Run(c.codec+" "+c.mode, func(t *testing.T) { layersAreForwarded(t, b, c.codec, c.mode, c.least) })
	}
}

// asLayers has a page send one encoding of a codec and a scalability mode.
const asLayers = `(() => {
	const add = RTCPeerConnection.prototype.addTransceiver;
	const set = RTCRtpSender.prototype.setParameters;
	RTCPeerConnection.prototype.addTransceiver = function (what, init) {
		if (!init?.sendEncodings) return add.call(this, what, init);
		init = {...init, sendEncodings: [{scalabilityMode: '%[2]s', maxBitrate: 1_000_000}]};
		const transceiver = add.call(this, what, init);
		const parameters = transceiver.sender.getParameters();
		set.call(transceiver.sender, {...parameters, degradationPreference: 'maintain-resolution'});
		transceiver.setCodecPreferences(RTCRtpReceiver.getCapabilities('video').codecs.filter((c) => c.mimeType === 'video/%[1]s'));
		return transceiver;
	};
	RTCRtpSender.prototype.setParameters = async () => {}; // one encoding it stays
	return true;
})()`

// asWished has a page ask for other qualities by wish(quality).
const asWished = `(() => {
	const send = WebSocket.prototype.send;
	const asked = [];
	WebSocket.prototype.send = function (data) {
		const m = JSON.parse(data);
		if (m.type === 'subscribe_track') asked.push([this, m]);
		send.call(this, data);
	};
	globalThis.wish = (quality) => {
		for (const [socket, m] of asked) send.call(socket, JSON.stringify({...m, quality}));
		return asked.length;
	};
	globalThis.seen = async () => {
		for (const s of (await roomtape.peers[0]?.connection.getStats())?.values() ?? []) {
			if (s.type === 'inbound-rtp' && s.kind === 'video') return {Width: s.frameWidth ?? 0, Decoded: s.framesDecoded ?? 0, Frozen: s.totalFreezesDuration ?? 0, Keys: s.keyFramesDecoded ?? 0, Asked: s.pliCount ?? 0};
		}
		return {};
	};
	return true;
})()`

// asked is what a page says of the keyframes that it has sent and was asked for.
const asked = `(async () => {
	const out = [];
	for (const s of (await roomtape.peers[0]?.connection.getStats())?.values() ?? []) {
		if (s.type === 'outbound-rtp' && s.kind === 'video') out.push([s.framesEncoded, s.keyFramesEncoded, s.pliCount, s.firCount].join(' '));
	}
	return out;
})()`

// rejoin has a page join again, after a script.
func rejoin(t *testing.T, p *browser.Page, name, source, script string) {
	t.Helper()
	p.Eval(script, nil)
	p.Eval(`roomtape.leave()`, nil)
	p.Wait(`roomtape.state === 'outside'`)
	p.Eval(fmt.Sprintf(`roomtape.join({room: 'test', name: '%s', source: '%s'})`, name, source), nil)
	p.Wait(`roomtape.state === 'joined'`)
}

func layersAreForwarded(t *testing.T, b *browser.Browser, codec, mode string, least int) {
	const width = 960
	spatial := least < width
	room, dir := openForwardedRoom(t), t.TempDir()
	alice := page(t, b, room, "alice")
	defer alice.Close()
	rejoin(t, alice, "alice", "pattern", fmt.Sprintf(asLayers, codec, mode))
	alice.Eval(fmt.Sprintf(`roomtape.shareTestPicture({width: %d, height: 540, fps: 20})`, width), nil)
	bob := page(t, b, room, "bob")
	defer bob.Close()
	rejoin(t, bob, "bob", "none", asWished)

	ids := []string{"best", "low", "changing"}
	recorders := map[string]*child{}
	var changing *wisher
	for _, id := range ids {
		at := room
		switch id {
		case "low":
			at, _ = wishing(t, room, "low")
		case "changing":
			at, changing = wishing(t, room, "low")
		}
		recorders[id] = start(t, "record", "--out", dir, "--session", id, "--peer-id", id, "--dump-rtp", at)
	}
	session := func(id string) string { return filepath.Join(dir, id) }
	var sent []string
	defer func() {
		if t.Failed() {
			alice.Eval(outgoing, &sent)
			t.Log(sent, alice.Errors(), bob.Errors())
			for _, id := range ids {
				t.Log(id, widths(t, session(id)))
			}
		}
	}()
	waitFor(t, "a recording", 40*time.Second, func() bool { return len(widths(t, session("best"))) > 0 })
	var does []string
	alice.Eval(`(async () => {
		const out = [];
		for (const s of (await roomtape.peers[0]?.connection.getStats())?.values() ?? []) {
			if (s.type === 'outbound-rtp' && s.kind === 'video') out.push(s.scalabilityMode ?? 'none');
		}
		return out;
	})()`, &does)
	if !slices.Contains(does, mode) {
		t.Skipf("this browser sends no %s as %s, but %q", codec, mode, does)
	}
	waitFor(t, "the largest picture", 40*time.Second, func() bool {
		list := widths(t, session("best"))
		return len(list) > 3 && slices.Equal(list[len(list)-3:], []int{width, width, width})
	})
	type sight struct {
		Width, Decoded, Keys, Asked int
		Frozen                      float64
	}
	look := func() (s sight) {
		bob.Eval(`seen()`, &s)
		return s
	}
	want := map[string]int{"best": width, "low": least, "medium": min(2*least, width)}
	for _, quality := range []string{"best", "low", "medium", "best"} {
		changing.wish(t, quality)
		bob.Eval(fmt.Sprintf(`wish('%s')`, quality), nil)
		waitFor(t, "a picture of "+quality, 30*time.Second, func() bool { return look().Width == want[quality] })
		start := look()
		after(t, 3*time.Second)
		s := look()
		alice.Eval(asked, &sent)
		t.Logf("the page, %s: %+v, sent %v", quality, s, sent)
		if rate := float64(s.Decoded-start.Decoded) / 3; rate < 2 {
			t.Errorf("the page decodes %.1f pictures/s of %s", rate, quality)
		}
		if frozen := s.Frozen - start.Frozen; spatial && frozen > 1.5 {
			t.Errorf("the picture of %s was frozen for %.1f s", quality, frozen)
		}
	}
	layers := map[string]map[[2]uint8]int{}
	for _, id := range ids {
		if err := recorders[id].Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range ids {
		if code := recorders[id].exit(t); code != 0 {
			t.Fatalf("%s: exit code %d\n%s", id, code, &recorders[id].stderr)
		}
		m := readManifest(t, session(id))
		if m.State != recorder.StateComplete || len(m.Files) != 1 {
			t.Fatalf("%s: the manifest: %+v", id, m)
		}
		path := filepath.Join(session(id), m.Files[0].Path)
		silent(t, "ffmpeg", "-v", "warning", "-xerror", "-i", path, "-map", "0:v", "-fps_mode", "passthrough", "-enc_time_base", "1/1000", "-f", "framemd5", "-y", os.DevNull)
		for _, track := range m.Files[0].Tracks {
			if track.Kind != "video" {
				continue
			}
			t.Logf("%s: packets %+v, frames %+v, sizes %v", id, track.Packets, track.Frames, track.Sizes)
			if track.Frames.Written < 30 {
				t.Errorf("%s: %d frames", id, track.Frames.Written)
			}
			if track.Frames.Dropped > 1 { // the end may cut one off
				t.Errorf("%s: %d frames dropped", id, track.Frames.Dropped)
			}
		}
		layers[id] = checkDescriptors(t, id, filepath.Join(session(id), "dump.pcapng"))
		list := widths(t, session(id))
		t.Logf("%s: %v", id, list)
	}
	if kinds := len(layers["best"]); kinds < 3 || spatial && kinds < 6 {
		t.Errorf("who wishes for the best has packets of the layers %v", layers["best"])
	}
	// At first, before the layers are known, there may be more.
	all, least0, upper := 0, 0, 0
	for l, n := range layers["low"] {
		all += n
		if l[0] == 0 && (spatial || l[1] == 0) {
			least0 += n
		}
		if l[1] > 0 {
			upper += n
		}
	}
	if float64(least0) < 0.7*float64(all) || spatial && float64(upper) < 0.2*float64(all) {
		t.Errorf("who wishes for little has packets of the layers %v", layers["low"])
	}
}

// checkDescriptors looks that what came is what its descriptors say: each frame has
// what it refers to, and nothing is of more than the decode targets that are said to be
// sent. It gives the number of packets of each layer.
func checkDescriptors(t *testing.T, id, path string) map[[2]uint8]int {
	t.Helper()
	type packet struct {
		sequence   int // as if it did not wrap
		descriptor []byte
	}
	var packets []packet
	highest := -1
	eachEvent(t, path, func(e signaling.Event) {
		if !isVideo(e) || len(e.Packet.Payload) == 0 {
			return
		}
		n := int(e.Packet.SequenceNumber)
		if highest >= 0 {
			n = highest + int(int16(e.Packet.SequenceNumber-uint16(highest)))
		}
		highest = max(highest, n)
		packets = append(packets, packet{n, slices.Clone(e.Packet.Extension(e.Track.Dependencies))})
	})
	// The first ones were asked for, and came later.
	slices.SortStableFunc(packets, func(a, b packet) int { return a.sequence - b.sequence })
	packets = slices.CompactFunc(packets, func(a, b packet) bool { return a.sequence == b.sequence })
	var r dependency.Reader
	frames, starts, unread := map[uint16]bool{}, 0, 0
	masks, layers := map[uint32]int{}, map[[2]uint8]int{}
	for _, p := range packets {
		var f dependency.Frame
		if _, ok := r.Read(p.descriptor, &f); !ok {
			unread++
			continue
		}
		if f.Structure {
			starts++
		}
		masks[f.Active]++
		layers[[2]uint8{f.Spatial, f.Temporal}]++
		for _, d := range f.Diffs {
			if !frames[f.Number-d] {
				t.Errorf("%s: frame %d of layers %d, %d refers to %d, which has not come", id, f.Number, f.Spatial, f.Temporal, f.Number-d)
			}
		}
		needed := f.Active == 0
		for i := range f.Targets {
			needed = needed || f.Active>>i&1 != 0 && targetHas(&r, i, f)
		}
		if !needed {
			t.Errorf("%s: frame %d of layers %d, %d is of none of the targets %b", id, f.Number, f.Spatial, f.Temporal, f.Active)
		}
		frames[f.Number] = true
	}
	t.Logf("%s: %d packets, %d structures, layers %v, active %v", id, len(packets), starts, layers, masks)
	if unread > 0 || starts == 0 {
		t.Errorf("%s: %d of %d packets have no descriptor that can be read, and %d have a structure", id, unread, len(packets), starts)
	}
	return layers
}

// targetHas tells whether the layers of a frame are within those of a decode target.
func targetHas(r *dependency.Reader, target int, f dependency.Frame) bool {
	var spatial, temporal uint8
	for _, l := range r.Templates() {
		if l.Indications.Of(target) != dependency.NotPresent {
			spatial, temporal = max(spatial, l.Spatial), max(temporal, l.Temporal)
		}
	}
	return f.Spatial <= spatial && f.Temporal <= temporal
}
