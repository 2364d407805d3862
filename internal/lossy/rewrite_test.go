package lossy

import (
	"encoding/json"
	"net/netip"
	"testing"
)

// shift stands for an address by one with 1000 more for its port.
func shift(a netip.AddrPort) (netip.AddrPort, bool) {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), a.Port()+1000), a.Addr().Is4()
}

func TestMessagesAreRewritten(t *testing.T) {
	const pass, drop = "as it is", ""
	for in, want := range map[string]string{
		`{"type":"room_peers","peers":["a"]}`:                  pass,
		`{"type":"ice_candidate","target":"b","candidate":{}}`: pass,
		`{"type":"offer","offer":7}`:                           pass,
		`{"type":"ice_candidate","target":"b","candidate":{"candidate":"candidate:1 1 udp 2113937151 192.0.2.7 5000 typ host generation 0 ufrag x","sdpMid":"0","later":[1]},"more":1}`: `{"candidate":{"candidate":"candidate:1 1 udp 2113937151 127.0.0.1 6000 typ host generation 0 ufrag x","later":[1],"sdpMid":"0"},"more":1,"target":"b","type":"ice_candidate"}`,
		`{"type":"ice_candidate","candidate":{"candidate":"candidate:1 1 UDP 1 198.51.100.1 5000 typ srflx raddr 192.0.2.7 rport 4000"}}`:                                               `{"candidate":{"candidate":"candidate:1 1 UDP 1 127.0.0.1 6000 typ srflx raddr 0.0.0.0 rport 9"},"type":"ice_candidate"}`,
		`{"type":"ice_candidate","candidate":{"candidate":"candidate:1 1 udp 1 0b1a-c.local 5000 typ host"}}`:                                                                           drop,
		`{"type":"ice_candidate","candidate":{"candidate":"candidate:1 1 udp 1 2001:db8::1 5000 typ host"}}`:                                                                            drop,
		`{"type":"ice_candidate","candidate":{"candidate":"candidate:1 1 tcp 1 192.0.2.7 9 typ host tcptype active"}}`:                                                                  drop,
		`{"type":"ice_candidate","candidate":{"candidate":"candidate:1 1 udp"}}`:                                                                                                        drop,
		`{"type":"answer","target":"b","answer":{"type":"answer","sdp":"v=0\r\nc=IN IP4 192.0.2.7\r\nm=audio 5000 UDP/TLS/RTP/SAVPF 111\r\na=rtcp:5001 IN IP4 192.0.2.7\r\na=candidate:1 1 udp 1 192.0.2.7 5000 typ host\r\na=candidate:2 1 udp 1 ::1 5000 typ host\r\na=mid:0\r\nm=video 0 UDP/TLS/RTP/SAVPF 96\r\n"}}`: `{"answer":{"sdp":"v=0\r\nc=IN IP4 0.0.0.0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=candidate:1 1 udp 1 127.0.0.1 6000 typ host\r\na=mid:0\r\nm=video 0 UDP/TLS/RTP/SAVPF 96\r\n","type":"answer"},"target":"b","type":"answer"}`,
	} {
		var m object
		if err := json.Unmarshal([]byte(in), &m); err != nil {
			t.Fatal(err)
		}
		if want == pass {
			want = in
		}
		out, ok := rewrite([]byte(in), m, shift)
		if string(out) != want || ok != (want != drop) {
			t.Errorf("%s\nbecomes %s\nwant    %s", in, out, want)
		}
	}
}
