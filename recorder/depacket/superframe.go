package depacket

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

// hideVP9 appends a shown frame to dst as one that is decoded but not shown, and
// tells whether it could. h is what parseVP9Header said of the frame, width its
// width in pixels.
//
// Senders of spatial layers mark the layers below the top as shown, too, and
// leave it to the receiver to show one of them. Inside a superframe all but the
// last must be hidden: some decoders show each layer otherwise, one after the
// other.
func hideVP9(dst, frame []byte, h *vp9Header, width int) ([]byte, bool) {
	end, ok := vp9HeaderEnd(frame, h, width)
	if !ok {
		return dst, false
	}
	w := bitAppender{b: dst}
	r := bits{b: frame}
	for r.pos < end {
		v := r.read(1)
		switch r.pos - 1 {
		case h.showBit:
			v = 0
		case h.showBit + 1:
			if !h.key { // after error_res, a hidden frame has intra_only
				w.put(v)
				v = 0
			}
		}
		w.put(v)
	}
	return append(w.b, frame[(end+7)/8:]...), true
}

// canFollowHidden tells whether the frame decodes to the same whether the one
// before it, of the given size, was shown or not. It would take motion vectors
// from a shown frame of its own size only.
func (h *vp9Header) canFollowHidden(before vp9Size) bool {
	return h.independent || h.width > 0 && h.width != before.width
}

// bitAppender appends bits, filling up the last byte with zeros.
type bitAppender struct {
	b    []byte
	free int // bits of the last byte
}

func (w *bitAppender) put(v int) {
	if w.free == 0 {
		w.b = append(w.b, 0)
		w.free = 8
	}
	w.free--
	w.b[len(w.b)-1] |= byte(v << w.free)
}

// vp9HeaderEnd finds where the uncompressed header ends, in bits, and tells
// whether what follows fits (bitstream specification §6.2, from
// refresh_frame_context on).
func vp9HeaderEnd(frame []byte, h *vp9Header, width int) (end int, ok bool) {
	r := bits{b: frame, pos: h.contextBit}
	if !h.resilient {
		r.read(2) // refresh_frame_context, frame_parallel_decoding_mode
	}
	r.read(2)               // frame_context_idx
	r.read(6 + 3)           // loop_filter_level, loop_filter_sharpness
	deltas := r.flag()      // loop_filter_delta_enabled
	if deltas && r.flag() { // loop_filter_delta_update
		for range 4 + 2 { // references, modes
			if r.flag() {
				r.read(6 + 1)
			}
		}
	}
	r.read(8) // base_q_idx
	for range 3 {
		if r.flag() { // delta_coded
			r.read(4 + 1)
		}
	}
	if r.flag() { // segmentation_enabled
		readVP9Segmentation(&r)
	}
	columns := ((width+7)/8 + 7) / 8 // of 64 pixels
	least, most := 0, 1
	for 64<<least < columns {
		least++
	}
	for columns>>most >= 4 {
		most++
	}
	for most--; least < most && r.flag(); { // increment_tile_cols_log2
		least++
	}
	if r.flag() { // tile_rows_log2
		r.read(1)
	}
	compressed := r.read(16) // header_size_in_bytes
	end = r.pos
	filled := r.read((8 - end%8) % 8)
	return end, !r.short && filled == 0 && compressed > 0 && r.pos/8+compressed <= len(frame)
}

// readVP9Segmentation passes over segmentation_params() after
// segmentation_enabled.
func readVP9Segmentation(r *bits) {
	probability := func() {
		if r.flag() {
			r.read(8)
		}
	}
	if r.flag() { // segmentation_update_map
		for range 7 {
			probability()
		}
		if r.flag() { // segmentation_temporal_update
			for range 3 {
				probability()
			}
		}
	}
	if r.flag() { // segmentation_update_data
		r.read(1) // segmentation_abs_or_delta_update
		for range 8 {
			for _, n := range [...]int{8 + 1, 6 + 1, 2, 0} { // with signs
				if r.flag() {
					r.read(n)
				}
			}
		}
	}
}
