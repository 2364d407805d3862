//go:build integration

package mesh

import (
	"fmt"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling"
)

// restarter is a page that offers whatever its connection finds necessary, as
// the WebRTC specification has it; restartIce makes it do so.
const restarter = `
globalThis.connect = async (url) => {
	const ws = new WebSocket(url);
	const send = (m) => ws.send(JSON.stringify({...m, target: 'rec'}));
	const canvas = document.createElement('canvas');
	const draw = canvas.getContext('2d');
	setInterval(() => { draw.fillStyle = '#' + Math.floor(Math.random() * 4095).toString(16).padStart(3, '0'); draw.fillRect(0, 0, 300, 150); }, 40);
	const pc = globalThis.pc = new RTCPeerConnection();
	pc.onicecandidate = ({candidate}) => candidate?.candidate && send({type: 'ice_candidate', candidate});
	pc.onnegotiationneeded = async () => { await pc.setLocalDescription(); send({type: 'offer', offer: pc.localDescription}); };
	ws.onopen = () => ws.send(JSON.stringify({type: 'join', peer_id: 'alice', room_id: 'room'}));
	ws.onmessage = async ({data}) => {
		const m = JSON.parse(data);
		if (m.type === 'room_peers') pc.addTrack(canvas.captureStream(25).getVideoTracks()[0], new MediaStream());
		if (m.type === 'answer') await pc.setRemoteDescription(m.answer);
		if (m.type === 'ice_candidate') await pc.addIceCandidate(m.candidate);
	};
	return true;
};
globalThis.ufrag = () => pc.remoteDescription.sdp.match(/ice-ufrag:(\S+)/)[1];
true`

// video waits for a video track of alice's.
func video(t *testing.T, r *Room) *signaling.Track {
	t.Helper()
	for {
		if e := wait(t, r, signaling.TrackStarted); e.Track.Participant == "alice" && e.Track.Kind == media.Video {
			return e.Track
		}
	}
}

// TestBrowserRestartsICE has a Chromium restart ICE, twice: it is the same track
// all the time.
func TestBrowserRestartsICE(t *testing.T) {
	v, r := inRoom(t, Config{})
	p := browser.Start(t).Open(v.server.URL + "/") // for its origin
	p.Eval(restarter, nil)
	p.Eval(fmt.Sprintf(`connect(%q)`, v.url), nil)
	track := video(t, r)
	packets(t, r, track, 50)
	for range 2 {
		var before string
		p.Eval(`ufrag()`, &before)
		p.Eval(`pc.restartIce()`, nil)
		p.Wait(fmt.Sprintf(`ufrag() !== %q && pc.iceConnectionState.match(/connected|completed/)`, before))
		packets(t, r, track, 100)
	}
	if errs := p.Errors(); len(errs) > 0 {
		t.Errorf("console: %q", errs)
	}
}

// TestWeRestartTowardsAPage restarts ICE from our side towards the room's page,
// which was there before us and which came later, as a change of our address
// does.
func TestWeRestartTowardsAPage(t *testing.T) {
	for _, first := range []string{"we", "the page"} {
		t.Run(first+" came first", func(t *testing.T) {
			v := newVenue(t)
			b := browser.Start(t)
			enter := func() *browser.Page {
				p := b.Open(v.server.URL + "/?room=room&name=alice&source=pattern&join=1")
				p.Wait(`roomtape.state === 'joined'`)
				return p
			}
			var p *browser.Page
			if first == "the page" {
				p = enter()
			}
			r, err := v.dial(t.Context(), Config{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = r.Close()
				_ = v.Close()
			})
			if first == "we" {
				p = enter()
			}
			track := video(t, r)
			packets(t, r, track, 50)
			p.Eval(`globalThis.kept = roomtape.peers[0].connection; globalThis.ufrag = () => kept.remoteDescription.sdp.match(/ice-ufrag:(\S+)/)[1]; true`, nil)
			for range 2 {
				var before string
				p.Eval(`ufrag()`, &before)
				start := time.Now()
				r.inbox.put(func(now time.Time) { r.roster.moved(track.Connection, now) })
				p.Wait(fmt.Sprintf(`ufrag() !== %q && kept === roomtape.peers[0].connection && kept.connectionState === 'connected'`, before))
				packets(t, r, track, 100)
				t.Logf("restarted, and 100 packets more, within %v", time.Since(start).Round(time.Millisecond))
			}
			if errs := p.Errors(); len(errs) > 0 {
				t.Errorf("console: %q", errs)
			}
		})
	}
}
