package depacket

import (
	"bytes"
	"testing"

	"github.com/roomtape/roomtape/media"
)

// benchmark pushes the packets of one picture after the other; one operation is
// one packet. Packets come from the pool as in a live room, so an operation
// includes the copy that NewPacket makes.
func benchmark(b *testing.B, codec media.Codec, key, inter [][]byte) {
	d := mustNew(b, codec)
	header := []byte{0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	raw := func(payloads [][]byte) (out [][]byte, size int) {
		for i, p := range payloads {
			h := bytes.Clone(header)
			if i == len(payloads)-1 {
				h[1] |= 0x80
			}
			out = append(out, append(h, p...))
			size += len(p)
		}
		return out, size
	}
	first, _ := raw(key)
	packets, size := raw(inter)
	push := func(packet []byte, ts uint32) {
		p, err := media.NewPacket(packet, epoch)
		if err != nil {
			b.Fatal(err)
		}
		p.Timestamp = ts
		d.Push(p, 0)
		for {
			f, ok := d.Next()
			if !ok {
				return
			}
			d.Recycle(f.Data)
		}
	}
	for _, p := range first {
		push(p, 1)
	}
	b.ReportAllocs()
	b.SetBytes(int64(size / len(packets)))
	n := 0
	for b.Loop() {
		push(packets[n%len(packets)], uint32(2+n/len(packets)))
		n++
	}
	if s := d.Stats(); s.Frames.Dropped > 0 || s.Frames.Given < uint64(n/len(packets)) {
		b.Fatalf("%+v", s)
	}
}

// split makes payloads of at most 1100 bytes, each after a descriptor.
func split(data []byte, descriptor func(first, last bool) []byte) (out [][]byte) {
	for first := true; len(data) > 0; first = false {
		n := min(1100, len(data))
		out = append(out, append(descriptor(first, n == len(data)), data[:n]...))
		data = data[n:]
	}
	return out
}

func BenchmarkVP8(b *testing.B) {
	f := vp8Frame{id: 1, tid: 0, tl0: 1}
	descriptor := func(first, _ bool) []byte { return f.descriptor(first) }
	benchmark(b, media.VP8, split(vp8Key, descriptor),
		split(append(bytes.Clone(vp8Inter), make([]byte, 10_000)...), descriptor))
}

func BenchmarkVP9(b *testing.B) {
	l := vp9Layer{id: 1, layered: true}
	benchmark(b, media.VP9, split(vp9KeyData(640, 360, 9), l.descriptor), split(vp9InterData(1, 0, 0, 10_000), l.descriptor))
}

func BenchmarkVP9Layers(b *testing.B) {
	l, up := vp9Layer{id: 1, layered: true}, vp9Layer{id: 1, layered: true, sid: 1, d: true}
	inter := vp9InterData(1, 0, 0, 5_000)
	benchmark(b, media.VP9, split(vp9KeyData(640, 360, 9), l.descriptor),
		append(split(inter, l.descriptor), split(inter, up.descriptor)...))
}

func BenchmarkAV1(b *testing.B) {
	frames := av1Payloads(2)
	benchmark(b, media.AV1, frames[0], frames[1])
}

func BenchmarkH264(b *testing.B) {
	frames := h264Payloads(2)
	benchmark(b, media.H264, frames[0], frames[1])
}

func BenchmarkOpus(b *testing.B) {
	packet := [][]byte{append([]byte{0xf8}, make([]byte, 160)...)}
	benchmark(b, media.Opus, packet, packet)
}
