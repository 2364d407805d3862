package signaling

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/roomtape/roomtape/media"
)

func TestParameterSetsOfADescription(t *testing.T) {
	sps, pps := []byte{0x67, 0x42, 0xc0, 0x1e, 0xda}, []byte{0x68, 0xce, 0x3c, 0x80}
	b64 := base64.StdEncoding.EncodeToString
	long := append([]byte{0x67}, make([]byte, maxSetSize)...)
	for _, c := range []struct {
		name, parameters string
		want             ParameterSets
	}{
		{"as senders write it", "packetization-mode=1; sprop-parameter-sets=" + b64(sps) + "," + b64(pps) + ";profile-level-id=42c01e", ParameterSets{96: {sps, pps}}},
		{"without padding, in capitals", "SPROP-PARAMETER-SETS=" + strings.TrimRight(b64(sps), "=") + ", " + b64(pps), ParameterSets{96: {sps, pps}}},
		{"none", "packetization-mode=1;profile-level-id=42c01e", nil},
		{"empty", "sprop-parameter-sets=", nil},
		{"not base64", "sprop-parameter-sets=%%%,Z0==LA,\x00", nil},
		{"a slice", "sprop-parameter-sets=" + b64([]byte{0x65, 1, 2, 3}), nil},
		{"the forbidden bit", "sprop-parameter-sets=" + b64([]byte{0xe7, 1, 2, 3}), nil},
		{"too long", "sprop-parameter-sets=" + b64(long) + "," + b64(pps), ParameterSets{96: {pps}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got ParameterSets
			got.AddFormat(96, c.parameters)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParameterSetsAreBounded(t *testing.T) {
	var s ParameterSets
	set := base64.StdEncoding.EncodeToString(append([]byte{0x67}, bytes.Repeat([]byte{1}, 500)...))
	for pt := range 256 {
		s.AddFormat(uint8(pt), "sprop-parameter-sets="+strings.Repeat(set+",", 1000))
	}
	total := 0
	for pt, sets := range s {
		if pt > 127 {
			t.Errorf("payload type %d", pt)
		}
		for _, set := range sets {
			total += len(set)
		}
	}
	if len(s) != maxSetTypes || total > maxSetTypes*maxSetTotal || total == 0 {
		t.Errorf("%d payload types, %d bytes", len(s), total)
	}
	got := s.Of(map[uint8]media.Codec{3: media.H264, 4: media.VP8, 99: media.H264})
	if want := (ParameterSets{3: s[3]}); cmp.Diff(want, got) != "" {
		t.Error(fmt.Sprint(got))
	}
}
