package dump_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/roomtape/roomtape/signaling/dump"
)

// janus makes a Janus file of n packets. change may replace what is recorded at
// the time ms, and give that another time.
func janus(codec string, n int, change func(i int, ms *uint32, b []byte) []byte) []byte {
	kind, packet := "a", opus
	if codec == "vp8" {
		kind, packet = "v", vp8
	}
	head := fmt.Sprintf(`{"t":%q,"c":%q,"s":1700000000000000,"u":1700000000000000}`, kind, codec)
	b := binary.BigEndian.AppendUint16([]byte("MJR00002"), uint16(len(head)))
	b = append(b, head...)
	for i := range n {
		ms := uint32(20 * i)
		p := packet(7, i)
		if change != nil {
			p = change(i, &ms, p)
		}
		b = binary.BigEndian.AppendUint32(append(b, "MEET"...), ms)
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(p))), p...)
	}
	return b
}

// A glance gives what a whole first pass gives, or says that it can't.
func TestGlance(t *testing.T) {
	const n = 3000
	late := func(f func(i int, ms *uint32, b []byte) []byte) func(int, *uint32, []byte) []byte {
		return func(i int, ms *uint32, b []byte) []byte {
			if i < n-100 {
				return b
			}
			return f(i, ms, b)
		}
	}
	cut := janus("opus", n, nil)
	for name, c := range map[string]struct {
		files      [][]byte
		unforeseen bool
	}{
		"sound and picture": {[][]byte{janus("vp8", n, nil), janus("opus", n, nil)}, false},
		"a short one":       {[][]byte{janus("vp8", n, nil), janus("opus", 100, nil)}, false},
		"two of a kind":     {[][]byte{janus("opus", n, nil), janus("opus", n, nil)}, false},
		"cut":               {[][]byte{cut[:len(cut)-3], janus("vp8", n, nil)}, false},
		"another SSRC": {[][]byte{janus("opus", n, late(func(i int, _ *uint32, _ []byte) []byte {
			return opus(8, i)
		}))}, true},
		"another payload type": {[][]byte{janus("opus", n, late(func(_ int, _ *uint32, b []byte) []byte {
			b[1] = 101
			return b
		}))}, true},
		"an earlier time": {[][]byte{janus("opus", n, func(i int, ms *uint32, b []byte) []byte {
			if *ms += 1000; i == n-1 {
				*ms = 0
			}
			return b
		})}, true},
		"RTCP": {[][]byte{janus("opus", n, late(func(_ int, _ *uint32, b []byte) []byte {
			return sdes(7, "late", false)
		}))}, true},
		"something else": {[][]byte{janus("opus", n, late(func(_ int, _ *uint32, b []byte) []byte {
			return []byte("hello, hello")
		}))}, true},
		"no packet": {[][]byte{janus("opus", n, late(func(_ int, _ *uint32, b []byte) []byte { return b[:11] }))}, true},
		"times that are useless in the end": {[][]byte{janus("opus", n, func(i int, ms *uint32, b []byte) []byte {
			*ms = min(*ms, 1200*20/8)
			return b
		})}, true},
	} {
		t.Run(name, func(t *testing.T) {
			want := playBytes(t, dump.Config{}, c.files...)
			got := playBytes(t, dump.Config{Glance: true}, c.files...)
			if c.unforeseen {
				if !errors.Is(got.err, dump.ErrUnforeseen) {
					t.Fatalf("%d events, %v", len(got.events), got.err)
				}
				return
			}
			if fmt.Sprint(got.err) != fmt.Sprint(want.err) || len(got.events) < n || !slices.EqualFunc(got.events, want.events, same) {
				t.Errorf("%d events and %v, want %d and %v", len(got.events), got.err, len(want.events), want.err)
			}
			for i := range want.summary.Streams {
				if !reflect.DeepEqual(got.summary.Streams[i], want.summary.Streams[i]) {
					t.Errorf("%+v, want %+v", got.summary.Streams[i], want.summary.Streams[i])
				}
			}
			if !reflect.DeepEqual(got.summary, want.summary) {
				t.Errorf("%+v, want %+v", got.summary, want.summary)
			}
		})
	}
}
