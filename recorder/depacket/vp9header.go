package depacket

// vp9Header is what is needed of a frame's uncompressed header (VP9 bitstream
// specification §6.2).
type vp9Header struct {
	key       bool
	shown     bool
	droppable bool // nothing after it refers to it
	// width and height are 0 when the size is that of the reference in the slot
	// sizeFrom.
	width, height int
	sizeFrom      int
	refresh       int // a bit for each of the eight slots that it replaces
	// independent: how the frame before was decoded does not matter, only what
	// is in the slots (error_res, or no inter prediction).
	independent bool
	// Bit positions in the header: of show_frame, and of refresh_frame_context
	// or what takes its place.
	showBit, contextBit int
	resilient           bool
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
	h.showBit = r.pos
	h.shown = r.flag()
	h.resilient = r.flag()
	intraOnly := !h.key && !h.shown && r.flag()
	if !h.key && !h.resilient {
		r.read(2) // reset_frame_context
	}
	h.independent = h.key || intraOnly || h.resilient

	if h.key || intraOnly {
		if r.read(24) != 0x498342 || (h.key || profile > 0) && !readVP9Color(&r, profile) {
			return false
		}
		h.refresh = 0xff
		if intraOnly {
			h.refresh = r.read(8)
		}
		h.width, h.height = r.read(16)+1, r.read(16)+1
		readVP9RenderSize(&r)
	} else {
		h.refresh = r.read(8)
		var slots [3]int // ref_frame_idx
		for i := range slots {
			slots[i] = r.read(3)
			r.read(1) // ref_frame_sign_bias
		}
		found := false
		for i := 0; i < 3 && !found; i++ {
			found, h.sizeFrom = r.flag(), slots[i] // found_ref
		}
		if !found {
			h.width, h.height = r.read(16)+1, r.read(16)+1
		}
		readVP9RenderSize(&r)
		r.read(1)      // allow_high_precision_mv
		if !r.flag() { // is_filter_switchable
			r.read(2)
		}
	}
	h.contextBit = r.pos
	// A frame that leaves its probabilities behind is referred to by those.
	keepsContext := !h.resilient && r.flag() // refresh_frame_context
	h.droppable = h.refresh == 0 && !keepsContext
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
