package depacket

// Types of OBUs (AV1 bitstream specification §6.2.2).
const (
	obuSequence    = 1
	obuFrameHeader = 3
	obuTileGroup   = 4
	obuMetadata    = 5
	obuFrame       = 6
	obuRedundant   = 7
)

// av1Sequence is a sequence header (AV1 bitstream specification §5.5).
type av1Sequence struct {
	profile, level, tier       int
	highDepth, twelveBit, mono bool
	subX, subY, samplePosition int
	width, height              int // the largest of its frames
	widthBits, heightBits      int // of a frame's own size
	reduced                    bool
	frameIDs                   int // bits of a frame's id, 0: it has none
	screenTools, integerMV     int // 2: each frame tells
	orderHintBits              int
	orderHints, decoderModel   bool
	equalPictures              bool
}

// parseAV1Sequence reads the payload of a sequence header OBU, and tells whether
// it can be right.
func parseAV1Sequence(b []byte, s *av1Sequence) bool {
	*s = av1Sequence{}
	r := bits{b: b}
	s.profile = r.read(3)
	still := r.flag()
	s.reduced = r.flag()
	if s.reduced {
		s.level = r.read(5)
	} else if !s.operatingPoints(&r) {
		return false
	}
	s.widthBits, s.heightBits = r.read(4)+1, r.read(4)+1
	s.width, s.height = r.read(s.widthBits)+1, r.read(s.heightBits)+1
	if !s.reduced && r.flag() {
		delta := r.read(4) + 2
		s.frameIDs = delta + r.read(3) + 1
	}
	r.read(3) // use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
	s.screenTools, s.integerMV = 2, 2
	if !s.reduced {
		r.read(4) // interintra, masked, warped, dual filter
		s.orderHints = r.flag()
		if s.orderHints {
			r.read(2) // enable_jnt_comp, enable_ref_frame_mvs
		}
		if !r.flag() { // seq_choose_screen_content_tools
			s.screenTools = r.read(1)
		}
		if s.screenTools > 0 && !r.flag() { // seq_choose_integer_mv
			s.integerMV = r.read(1)
		}
		if s.orderHints {
			s.orderHintBits = r.read(3) + 1
		}
	}
	r.read(3) // enable_superres, enable_cdef, enable_restoration
	s.color(&r)
	r.read(1) // film_grain_params_present
	return !r.short && s.profile <= 2 && (still || !s.reduced) && s.frameIDs <= 16
}

// operatingPoints reads what stands between the flags and the size, and tells
// whether it can be right.
func (s *av1Sequence) operatingPoints(r *bits) bool {
	delayBits := 0
	if r.flag() { // timing_info_present_flag
		r.read(64)
		s.equalPictures = r.flag()
		if s.equalPictures {
			r.uvlc()
		}
		s.decoderModel = r.flag()
		if s.decoderModel {
			delayBits = r.read(5) + 1
			r.read(32 + 10)
		}
	}
	displayDelay := r.flag()
	for i := range r.read(5) + 1 {
		r.read(12) // operating_point_idc
		level, tier := r.read(5), 0
		if level > 7 {
			tier = r.read(1)
		}
		if i == 0 {
			s.level, s.tier = level, tier
		}
		if s.decoderModel && r.flag() {
			r.read(2*delayBits + 1)
		}
		if displayDelay && r.flag() {
			r.read(4)
		}
	}
	return !r.short
}

// color reads color_config() (§5.5.2).
func (s *av1Sequence) color(r *bits) {
	s.highDepth = r.flag()
	if s.profile == 2 && s.highDepth {
		s.twelveBit = r.flag()
	}
	s.mono = s.profile != 1 && r.flag()
	primaries, transfer, matrix := 2, 2, 2
	if r.flag() { // color_description_present_flag
		primaries, transfer, matrix = r.read(8), r.read(8), r.read(8)
	}
	s.subX, s.subY = 1, 1
	switch {
	case s.mono:
		r.read(1) // color_range
		return
	case primaries == 1 && transfer == 13 && matrix == 0: // sRGB
		s.subX, s.subY = 0, 0
	default:
		r.read(1)
		switch {
		case s.profile == 1:
			s.subX, s.subY = 0, 0
		case s.profile == 2 && s.twelveBit:
			s.subX = r.read(1)
			s.subY = s.subX & r.read(s.subX)
		case s.profile == 2:
			s.subY = 0
		}
		if s.subX == 1 && s.subY == 1 {
			s.samplePosition = r.read(2)
		}
	}
	r.read(1) // separate_uv_delta_q
}

// config gives the av1C record ("AV1 Codec ISO Media File Format Binding"
// §2.3) with the sequence header OBU, which has its size.
func (s *av1Sequence) config(obu []byte) []byte {
	flags := s.tier<<7 | flag(s.highDepth)<<6 | flag(s.twelveBit)<<5 | flag(s.mono)<<4 |
		s.subX<<3 | s.subY<<2 | s.samplePosition
	return append([]byte{0x81, byte(s.profile<<5 | s.level), byte(flags), 0}, obu...)
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// av1Frame is the beginning of a frame header (AV1 bitstream specification
// §5.9.2).
type av1Frame struct {
	existing bool // it shows a frame that was decoded before
	key      bool // a key frame that is shown
	shown    bool
	// droppable: nothing refers to it.
	droppable bool
	// width and height are 0 when they are the sequence's or a reference's.
	width, height int
}

// The types of frames (§6.8.2).
const (
	av1Key = iota
	av1Inter
	av1IntraOnly
	av1Switch
)

// parseAV1Frame reads the beginning of the payload of a frame or frame header
// OBU, and tells whether it can be right.
func parseAV1Frame(b []byte, s *av1Sequence, f *av1Frame) bool {
	*f = av1Frame{key: true, shown: true}
	r := bits{b: b}
	kind, resilient := av1Key, true
	if !s.reduced {
		f.existing = r.flag()
		if f.existing {
			f.key = false
			return !r.short
		}
		kind = r.read(2)
		f.shown = r.flag()
		f.key = kind == av1Key && f.shown
		if s.decoderModel {
			// It has fields whose length is not kept: not droppable, and of
			// the sequence's size.
			return !r.short
		}
		if !f.shown {
			r.read(1) // showable_frame
		}
		resilient = kind == av1Switch || f.key || r.flag()
	}
	r.read(1) // disable_cdf_update
	tools := s.screenTools
	if tools == 2 {
		tools = r.read(1)
	}
	if tools == 1 && s.integerMV == 2 {
		r.read(1) // force_integer_mv
	}
	r.read(s.frameIDs)
	override := kind == av1Switch || !s.reduced && r.flag()
	r.read(s.orderHintBits)
	intra := kind == av1Key || kind == av1IntraOnly
	if !intra && !resilient {
		r.read(3) // primary_ref_frame
	}
	refresh := 0xff
	if kind != av1Switch && !f.key {
		refresh = r.read(8)
	}
	f.droppable = refresh == 0
	if f.key && override {
		f.width, f.height = r.read(s.widthBits)+1, r.read(s.heightBits)+1
	}
	return !r.short
}

// uvlc reads a variable length code (§4.10.3).
func (r *bits) uvlc() {
	n := 0
	for !r.flag() && !r.short {
		n++
	}
	if n < 32 {
		r.read(n)
	}
}
