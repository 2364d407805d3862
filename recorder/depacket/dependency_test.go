package depacket

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pion/rtp/codecs"
	"pgregory.net/rapid"

	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/media/dependency"
)

const dependencyID = 4 // of the header extension

// described makes the next packet, with a dependency descriptor.
func (s *sender) described(payload []byte, marker bool, descriptor []byte) *media.Packet {
	s.t.Helper()
	b := []byte{0x90, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0}
	if marker {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], s.seq)
	binary.BigEndian.PutUint32(b[4:], s.ts)
	ext := append([]byte{dependencyID, byte(len(descriptor))}, descriptor...)
	for len(ext)%4 != 0 {
		ext = append(ext, 0)
	}
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(ext)/4)), ext...)
	p, err := media.NewPacket(append(b, payload...), epoch)
	if err != nil {
		s.t.Fatal(err)
	}
	s.seq++
	return p
}

// testDescriptor is what a test says of a frame: its layer, what it refers to,
// and, on a keyframe, the structure: three temporal layers in one chain.
type testDescriptor struct {
	number    uint16
	key       bool
	tid       int
	diffs     []int
	chain     int // how far back the frame before it in the chain is
	droppable bool
}

// append makes the descriptor. All that can be is said by the frame itself.
func (d testDescriptor) append(start, end bool) []byte {
	bit := func(b bool) uint32 {
		if b {
			return 1
		}
		return 0
	}
	w := new(bitWriter).put(1, bit(start)).put(1, bit(end)).put(6, uint32(60+d.tid)%64).put(16, uint32(d.number))
	w.put(1, bit(d.key && start)).put(1, 0).put(3, 7)
	if d.key && start {
		w.put(6, 60).put(5, 3-1)                            // ids from 60, three targets
		w.put(2, 1).put(2, 1).put(2, 3)                     // a template for each temporal layer
		w.put(18, 0)                                        // what they are to the targets
		w.put(1, 0).put(1, 1).put(4, 3).put(1, 0)           // they refer to none, 4 back,
		w.put(1, 1).put(4, 0).put(1, 1).put(4, 1).put(1, 0) // 1 and 2 back
		w.put(2, 1).put(4, 1).put(4, 2).put(4, 3)           // one chain, and the distances in it
		w.put(1, 1).put(16, 320-1).put(16, 240-1)           // a size
	}
	for range 3 {
		w.put(2, 2-bit(d.droppable))
	}
	for _, diff := range d.diffs {
		switch {
		case diff <= 16:
			w.put(2, 1).put(4, uint32(diff-1))
		case diff <= 256:
			w.put(2, 2).put(8, uint32(diff-1))
		default:
			w.put(2, 3).put(12, uint32(diff-1))
		}
	}
	return w.put(2, 0).put(8, uint32(d.chain)).b
}

// TestOnlyWhatDependsOnALostFrameIsLost has senders of random structures lose
// random frames, whole or in part. Given is what the references allow, and a
// keyframe is needed when and only when the chain is broken.
func TestOnlyWhatDependsOnALostFrameIsLost(t *testing.T) {
	payloads := map[media.Codec]func(key bool, n int) [][]byte{
		media.VP8: func(key bool, _ int) [][]byte {
			data := vp8Inter
			if key {
				data = vp8Key
			}
			return [][]byte{append([]byte{0x10}, data[:4]...), append([]byte{0}, data[4:]...)}
		},
		media.VP9: func(key bool, _ int) [][]byte {
			data := vp9InterData(1, 0, 0, 9)
			if key {
				data = vp9KeyData(320, 240, 9)
			}
			return [][]byte{append([]byte{0x08}, data[:4]...), append([]byte{0x04}, data[4:]...)}
		},
		media.AV1: func(key bool, _ int) [][]byte {
			tu := testAV1Frame(key, 1, 1500)
			if key {
				tu = append(bytes.Clone(av1Seq), tu...)
			}
			return (&codecs.AV1Payloader{}).Payload(1100, tu)
		},
		media.H264: func(key bool, n int) [][]byte {
			if key {
				return [][]byte{stapA(testSPS, testPPS), testSlice(0x65, 0, 99)}
			}
			return fragments(testSlice(0x41, n, 1500), 1100)
		},
	}
	for codec, payload := range payloads {
		t.Run(codec.String(), func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) { describedCall(t, r, codec, payload) })
		})
	}
}

func describedCall(t *testing.T, r *rapid.T, codec media.Codec, payload func(key bool, n int) [][]byte) {
	d, err := New(codec, Config{Dependencies: dependencyID})
	if err != nil {
		t.Fatal(err)
	}
	f := &feeder{t: t, d: d}
	s := &sender{t: t, seq: 65000}
	number := rapid.Uint16().Draw(r, "number")
	given := map[int]bool{}
	var tids []int
	var want []uint32
	key, base := 0, 0 // the latest keyframe and base picture
	for i := range rapid.IntRange(2, 60).Draw(r, "pictures") {
		p := testDescriptor{number: number + uint16(i)}
		p.key = i == 0 || rapid.IntRange(0, 19).Draw(r, "key") == 0
		if !p.key {
			p.tid = rapid.IntRange(0, 2).Draw(r, "layer")
			if p.tid == 0 {
				p.diffs = []int{i - base}
			} else {
				// Any pictures of its layer or below, since the keyframe.
				for k := i - 1; k >= key; k-- {
					if tids[k] <= p.tid && rapid.Bool().Draw(r, "refers") {
						p.diffs = append(p.diffs, i-k)
					}
				}
				if p.diffs == nil {
					p.diffs = []int{i - base}
				}
				p.diffs = p.diffs[:min(len(p.diffs), 5)]
			}
			p.chain = i - base
		}
		tids = append(tids, p.tid)
		packets := payload(p.key, i)
		s.ts += 3000
		lose := 0
		if rapid.IntRange(0, 5).Draw(r, "lost") == 0 {
			lose = rapid.IntRange(1, 1<<len(packets)-1).Draw(r, "packets")
		}
		for k, b := range packets {
			q := s.described(b, k == len(packets)-1, p.append(k == 0, k == len(packets)-1))
			if lose>>k&1 != 0 {
				q.Release()
				f.lost++
			} else {
				f.push(q)
			}
		}
		given[i] = lose == 0
		for _, diff := range p.diffs {
			given[i] = given[i] && given[i-diff]
		}
		if given[i] {
			want = append(want, s.ts)
		}
		// The chain is known to be broken from the next picture on.
		broken := p.chain > 0 && !given[base]
		if p.key {
			key = i
		}
		if p.tid == 0 {
			base = i
		}
		if lose == 0 {
			if got := d.NeedsKeyframe(); got != (broken || p.tid == 0 && !given[i]) {
				r.Fatalf("picture %d of layer %d, given %v: needs a keyframe: %v, broken: %v", i, p.tid, given[i], got, broken)
			}
		}
	}
	f.finish()
	var got []uint32
	for _, fr := range f.frames {
		got = append(got, fr.Timestamp)
	}
	if !slices.Equal(got, want) {
		r.Fatalf("given %v, want %v", got, want)
	}
}

func FuzzDependencies(f *testing.F) {
	names, _ := filepath.Glob("../../../shared/captures/HackWebRTC-webrtc/test/fuzzers/corpora/dependency_descriptor-corpus/*")
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil {
			f.Add(b)
		}
	}
	f.Add(append([]byte{1}, testDescriptor{key: true}.append(true, true)...))
	f.Fuzz(func(t *testing.T, in []byte) {
		var d dependency.Reader
		var l links
		c := newChain()
		for opened := true; len(in) > 0; {
			n := min(int(in[0]&0x3f), len(in)-1)
			flags := in[0]
			b := in[1 : 1+n]
			in = in[1+n:]
			if opened {
				l.begin()
			}
			l.add(&d, b, opened)
			opened = flags&0x40 != 0
			if l.known && (len(l.frames) == 0 || len(l.frames) > maxLayers || len(l.refs) > maxLayers*dependency.MaxRefs || len(l.chains) > dependency.MaxTargets || d.Layers() == 0) {
				t.Fatalf("%+v", l)
			}
			if opened {
				p := picture{key: flags&0x80 != 0 && len(b)%2 == 0}
				p.describe(&l)
				ok, missed := c.next(&p, int(flags&0x0f), flags&0x80 != 0)
				if missed < 0 || missed > 15 {
					t.Fatalf("%d pictures missing of %d packets", missed, flags&0x0f)
				}
				if p.key && (!ok || c.starving) {
					t.Fatal("a keyframe is refused")
				}
			}
		}
	})
}
