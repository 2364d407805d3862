package netsim

// vp8Layers gives the pictures of VP8 their places in temporal layers, as
// browsers' encoders do, and cuts them into payloads.
type vp8Layers struct {
	layers int

	position  int // since the keyframe, 0 for that
	tid       uint8
	tl0       uint8
	id        uint16
	key       bool
	last      [3]int // the latest picture of each layer
	sync      bool   // it refers to the base layer only
	droppable bool
}

// next moves on to picture n, and gives the pictures that it refers to: in one
// layer the one before; else the latest of the base layer, and in the second
// half of a group of four of three layers the latest of the middle one.
func (v *vp8Layers) next(n int, key bool) (refs []int) {
	v.key = key
	v.id = uint16(n) & 0x7fff
	if key {
		v.position = 0
	} else {
		v.position++
	}
	v.tid, v.sync, v.droppable = 0, false, false
	switch v.layers {
	case 2:
		v.tid = uint8(v.position & 1)
		v.sync, v.droppable = v.tid == 1, v.tid == 1
	case 3:
		v.tid = [4]uint8{0, 2, 1, 2}[v.position&3]
		v.sync, v.droppable = v.tid > 0 && v.position&3 != 3, v.tid == 2
	}
	switch {
	case key:
		v.last = [3]int{n, n, n}
	case v.layers == 3 && v.position&3 == 3:
		refs = []int{v.last[0], v.last[1]}
	default:
		refs = []int{v.last[0]}
	}
	if v.tid == 0 {
		v.tl0++
	}
	v.last[v.tid] = n
	return refs
}

// payloads cuts the picture that next was told of (RFC 7741 §4.2).
func (v *vp8Layers) payloads(frame []byte) [][]byte {
	head := []byte{0x80, 0x80, 0x80 | byte(v.id>>8), byte(v.id)}
	if v.layers > 1 {
		head[1] |= 0x60
		t := v.tid << 6
		if v.sync {
			t |= 0x20
		}
		head = append(head, v.tl0, t)
	}
	if v.droppable {
		head[0] |= 0x20
	}
	var out [][]byte
	for first := true; len(frame) > 0; first = false {
		n := min(len(frame), mtu-len(head))
		b := append(append([]byte(nil), head...), frame[:n]...)
		if first {
			b[0] |= 0x10
		}
		out = append(out, b)
		frame = frame[n:]
	}
	return out
}
