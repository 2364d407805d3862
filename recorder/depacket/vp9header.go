package depacket

// vp9Header is what is needed of a frame's uncompressed header (VP9 bitstream
// specification §6.2).
type vp9Header struct {
	key       bool
	shown     bool
	droppable bool // nothing after it refers to it
	// width and height are 0 when the size is that of a reference.
	width, height int
}

// bits reads a bit string, most significant bit first. After its end it gives
// zeros and sets short.
type bits struct {
	b     []byte
	pos   int
	short bool
}

func (r *bits) read(n int) (v int) {
	for range n {
		v <<= 1
		if i := r.pos / 8; i < len(r.b) {
			v |= int(r.b[i]>>(7-r.pos%8)) & 1
		} else {
			r.short = true
		}
		r.pos++
	}
	return v
}

func (r *bits) flag() bool { return r.read(1) != 0 }

// parseVP9Header reads a frame's header and tells whether it can be right.
func parseVP9Header(b []byte, h *vp9Header) bool {
	*h = vp9Header{}
	r := bits{b: b}
	if r.read(2) != 2 { // frame_marker
		return false
	}
	profile := r.read(1) | r.read(1)<<1
	if profile == 3 && r.flag() { // reserved_zero
		return false
	}
	if r.flag() { // show_existing_frame
		r.read(3)
		// It changes nothing that is kept, but a decoder that lacks it shows
		// another picture: not droppable.
		h.shown = true
		return !r.short
	}
	h.key = !r.flag() // frame_type
	h.shown = r.flag()
	resilient := r.flag()

	refresh := 0xff
	switch {
	case h.key:
		if r.read(24) != 0x498342 || !readVP9Color(&r, profile) {
			return false
		}
		h.width, h.height = r.read(16)+1, r.read(16)+1
		return !r.short
	default:
		intraOnly := !h.shown && r.flag()
		if !resilient {
			r.read(2) // reset_frame_context
		}
		if intraOnly {
			if r.read(24) != 0x498342 || profile > 0 && !readVP9Color(&r, profile) {
				return false
			}
			refresh = r.read(8)
			h.width, h.height = r.read(16)+1, r.read(16)+1
			readVP9RenderSize(&r)
			break
		}
		refresh = r.read(8)
		r.read(3 * 4) // ref_frame_idx and ref_frame_sign_bias
		found := false
		for i := 0; i < 3 && !found; i++ {
			found = r.flag() // found_ref
		}
		if !found {
			h.width, h.height = r.read(16)+1, r.read(16)+1
		}
		readVP9RenderSize(&r)
		r.flag()       // allow_high_precision_mv
		if !r.flag() { // is_filter_switchable
			r.read(2)
		}
	}
	// A frame that leaves its probabilities behind is referred to by those.
	keepsContext := !resilient && r.flag() // refresh_frame_context
	h.droppable = refresh == 0 && !keepsContext
	return !r.short
}

// readVP9Color passes over color_config(), and tells whether it can be right.
func readVP9Color(r *bits, profile int) bool {
	if profile >= 2 {
		r.flag() // ten_or_twelve_bit
	}
	const rgb = 7
	odd := profile&1 != 0
	if r.read(3) != rgb {
		r.flag() // color_range
		if odd {
			r.read(2)        // subsampling_x, subsampling_y
			return !r.flag() // reserved_zero
		}
		return true
	}
	return odd && !r.flag() // reserved_zero
}

func readVP9RenderSize(r *bits) {
	if r.flag() { // render_and_frame_size_different
		r.read(32)
	}
}

// superframe finds the frames in a chunk of VP9 (bitstream specification, annex
// B): it puts where each ends into ends and gives their number, 1 when the chunk
// has no superframe index.
func superframe(b []byte, ends *[maxLayers]int) int {
	if len(b) > 0 {
		last := b[len(b)-1]
		n, mag := int(last&7)+1, int(last>>3&3)+1
		index := len(b) - 2 - n*mag
		if last&0xe0 == 0xc0 && index >= 0 && b[index] == last {
			pos := 0
			sizes := b[index+1:]
			valid := true
			for i := range n {
				size := 0
				for k := range mag {
					size |= int(sizes[i*mag+k]) << (8 * k)
				}
				pos += size
				valid = valid && size > 0 && pos <= index
				ends[i] = pos
			}
			if valid {
				return n
			}
		}
	}
	ends[0] = len(b)
	return 1
}

// appendSuperframeIndex appends the index of a superframe whose frames begin at
// starts (bitstream specification, annex B).
func appendSuperframeIndex(b []byte, starts []int) []byte {
	largest, end := 0, len(b)
	for i := len(starts) - 1; i >= 0; i-- {
		largest = max(largest, end-starts[i])
		end = starts[i]
	}
	mag := 1
	for largest>>(8*mag) > 0 {
		mag++
	}
	end = len(b)
	marker := byte(0xc0 | (mag-1)<<3 | (len(starts) - 1))
	b = append(b, marker)
	for i, start := range starts {
		next := end
		if i+1 < len(starts) {
			next = starts[i+1]
		}
		for k := range mag {
			b = append(b, byte((next-start)>>(8*k)))
		}
	}
	return append(b, marker)
}
