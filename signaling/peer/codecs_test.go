package peer

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pion/sdp/v3"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/signaling/message"
)

const (
	uriOrientation = "urn:3gpp:video-orientation"

	transportSDP = "c=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\na=rtcp-mux\r\n" +
		"a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n"

	// browserOffer has all that a browser offers and that matters here.
	browserOffer = "v=0\r\no=- 2 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=extmap-allow-mixed\r\n" +
		"m=audio 9 UDP/TLS/RTP/SAVPF 109 63 9 0 13\r\n" + transportSDP + "a=mid:0\r\na=sendonly\r\na=msid:s a\r\n" +
		"a=rtpmap:109 opus/48000/2\r\na=fmtp:109 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 109/109\r\n" +
		"a=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:13 CN/8000\r\na=ssrc:1 cname:x\r\n" +
		"m=video 9 UDP/TLS/RTP/SAVPF 96 97 116 117 118 119\r\n" + transportSDP + "a=mid:1\r\na=sendonly\r\na=msid:s v\r\n" +
		"a=extmap:3 " + uriOrientation + "\r\na=extmap:4 " + uriMID + "\r\na=extmap:5 " + uriDependency + "\r\n" +
		"a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n" +
		"a=rtpmap:116 red/90000\r\na=rtpmap:117 rtx/90000\r\na=fmtp:117 apt=116\r\na=rtpmap:118 ulpfec/90000\r\n" +
		"a=rtpmap:119 flexfec-03/90000\r\na=ssrc:2 cname:x\r\n"
)

// described gives the m-lines of a description, and the one of a kind.
func described(t *testing.T, text string, kind media.Kind) *sdp.MediaDescription {
	t.Helper()
	var d sdp.SessionDescription
	if err := d.UnmarshalString(text); err != nil {
		t.Fatal(err)
	}
	for _, m := range d.MediaDescriptions {
		if kindOf(m.MediaName.Media) == kind {
			return m
		}
	}
	t.Fatalf("no %v", kind)
	return nil
}

// encodings gives the names in the order of the m-line.
func encodings(m *sdp.MediaDescription) (names []string) {
	byType := map[string]string{}
	for _, a := range m.Attributes {
		if pt, rest, ok := strings.Cut(a.Value, " "); ok && a.Key == "rtpmap" {
			byType[pt], _, _ = strings.Cut(rest, "/")
		}
	}
	for _, pt := range m.MediaName.Formats {
		names = append(names, byType[pt])
	}
	return names
}

func TestAnswerTakesREDButNoOrientationAndNoFEC(t *testing.T) {
	f := newTestFactory(t, Config{Loopback: true})
	c := connect(t, f, Options{})
	answer, err := c.Answer(message.Description{Type: "offer", SDP: browserOffer})
	if err != nil {
		t.Fatal(err)
	}
	audio, video := described(t, answer.SDP, media.Audio), described(t, answer.SDP, media.Video)
	if got, want := encodings(audio), []string{"red", "opus"}; !slices.EqualFunc(got, want, strings.EqualFold) {
		t.Errorf("audio: %q, want %q", got, want)
	}
	if got, want := encodings(video), []string{"VP8", "rtx"}; !slices.Equal(got, want) {
		t.Errorf("video: %q, want %q", got, want)
	}
	want := map[string]uint8{uriMID: 4, uriDependency: 5}
	if got := extmap(video); !maps.Equal(got, want) {
		t.Errorf("extensions: %v, want %v", got, want)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sections) != 2 {
		t.Fatalf("%d sections", len(c.sections))
	}
	a, v := c.sections[0], c.sections[1]
	if want := map[uint8]media.Codec{63: media.Opus, 109: media.Opus}; !maps.Equal(a.codecs, want) || !maps.Equal(a.red, map[uint8]bool{63: true}) {
		t.Errorf("audio: %v, RED %v", a.codecs, a.red)
	}
	if !maps.Equal(v.codecs, map[uint8]media.Codec{96: media.VP8}) || v.red != nil || v.extDependency != 5 {
		t.Errorf("video: %v, RED %v, descriptor %d", v.codecs, v.red, v.extDependency)
	}
	if len(c.tracks) != 2 || !c.tracks[0].RED[63] || c.tracks[1].Dependencies != 5 {
		t.Errorf("the tracks do not tell: %+v", c.tracks)
	}
}

func TestOfferHasREDFirstAndNoOrientation(t *testing.T) {
	f := newTestFactory(t, Config{Loopback: true, Codecs: []media.Codec{media.VP8, media.VP9, media.AV1, media.H264}})
	offer, err := connect(t, f, Options{}).Offer()
	if err != nil {
		t.Fatal(err)
	}
	audio, video := described(t, offer.SDP, media.Audio), described(t, offer.SDP, media.Video)
	if got, want := encodings(audio), []string{"red", "opus"}; !slices.EqualFunc(got, want, strings.EqualFold) {
		t.Errorf("audio: %q, want %q", got, want)
	}
	if !strings.Contains(offer.SDP, "a=fmtp:63 111/111\r\n") {
		t.Error("RED does not say what is inside")
	}
	ext := extmap(video)
	if _, ok := ext[uriOrientation]; ok || ext[uriDependency] == 0 {
		t.Errorf("extensions: %v", ext)
	}
	for _, name := range encodings(video) {
		if strings.Contains(strings.ToLower(name), "fec") || strings.EqualFold(name, "red") {
			t.Errorf("%s is offered for video", name)
		}
	}
}

// Offers of real browsers get an answer without orientation.
func TestAnswersToRealBrowsersHaveNoOrientation(t *testing.T) {
	f := newTestFactory(t, Config{Loopback: true})
	for _, name := range []string{"chromium", "firefox", "obs"} {
		b, err := os.ReadFile("../../../shared/captures/elixir-webrtc-ex_webrtc/test/fixtures/sdp/" + name + "_audio_video_sdp.txt")
		if err != nil {
			t.Skip("no captures here: ", err)
		}
		c := connect(t, f, Options{})
		answer, err := c.Answer(message.Description{Type: "offer", SDP: string(b)})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		red := strings.Contains(string(b), "red/48000/2")
		if got := strings.Contains(answer.SDP, "red/48000/2"); got != red {
			t.Errorf("%s: RED offered %v, answered %v", name, red, got)
		}
		if strings.Contains(answer.SDP, uriOrientation) {
			t.Errorf("%s: the answer has the orientation", name)
		}
	}
}
