package depacket

import (
	"bytes"
	"encoding/binary"
)

// Limits on what a stream can make us keep of its parameters.
const (
	maxSPS = 32
	maxPPS = 256
	// maxParameterSet is how long a parameter set may be, in bytes.
	maxParameterSet = 1024
	// maxAVCConfig is how long an avcC record is made. Parameter sets that do
	// not fit are in front of each keyframe all the same.
	maxAVCConfig = 4000
	// maxH264Size is the largest width and height in pixels: level 6.2 has
	// 139264 macroblocks in a picture, and √(8 × that) in a row.
	maxH264Size = 16 * 1056
)

// h264SPS is a sequence parameter set (ITU-T H.264 §7.3.2.1).
type h264SPS struct {
	nal           []byte // empty: there is none
	width, height int    // as cropped
	frameNumBits  int
	// pocType is pic_order_cnt_type, and pocBits how many bits its least
	// significant part has, in type 0.
	pocType, pocBits int
	// planes: separate_colour_plane_flag. fields: the picture may be one.
	planes, fields             bool
	chroma, depth, chromaDepth int
}

// h264PPS is a picture parameter set (ITU-T H.264 §7.3.2.2).
type h264PPS struct {
	nal []byte // empty: there is none
	sps int
}

// h264Sets are the parameter sets of a stream.
type h264Sets struct {
	sps     [maxSPS]*h264SPS
	pps     [maxPPS]*h264PPS
	changed bool // since the last avcC record
	scratch []byte
}

// store keeps the parameter set nal, which it copies, and tells whether it can
// be right.
func (s *h264Sets) store(nal []byte) bool {
	if len(nal) < 2 || len(nal) > maxParameterSet {
		return false
	}
	s.scratch = unescape(s.scratch[:0], nal[1:])
	r := bits{b: s.scratch}
	switch nal[0] & 0x1f {
	case nalSPS:
		var p h264SPS
		id, ok := parseSPS(&r, &p)
		if !ok {
			return false
		}
		old := s.sps[id]
		if old == nil {
			old = &h264SPS{}
			s.sps[id] = old
		}
		if !bytes.Equal(old.nal, nal) {
			s.changed = true
		}
		p.nal = append(old.nal[:0], nal...)
		*old = p
	case nalPPS:
		id, sps := r.ue(), r.ue()
		if r.short || id >= maxPPS || sps >= maxSPS {
			return false
		}
		old := s.pps[id]
		if old == nil {
			old = &h264PPS{}
			s.pps[id] = old
		}
		if !bytes.Equal(old.nal, nal) {
			s.changed = true
		}
		old.nal, old.sps = append(old.nal[:0], nal...), sps
	default:
		return false
	}
	return true
}

// of gives the SPS that is active with a PPS, or nil when one is missing.
func (s *h264Sets) of(pps int) *h264SPS {
	if p := s.pps[pps]; p != nil {
		return s.sps[p.sps]
	}
	return nil
}

// each calls f with all that a decoder needs to begin with a picture of sps: the
// SPS and its PPSs.
func (s *h264Sets) each(sps *h264SPS, f func(nal []byte)) {
	f(sps.nal)
	for _, p := range &s.pps {
		if p != nil && s.sps[p.sps] == sps {
			f(p.nal)
		}
	}
}

// config gives the avcC record of streams with sps (ISO/IEC 14496-15
// §5.3.3.1.2), with NAL units' lengths in four bytes.
func (s *h264Sets) config(sps *h264SPS) []byte {
	b := []byte{1, sps.nal[1], sps.nal[2], sps.nal[3], 0xfc | 3, 0xe0 | 1}
	count := -1
	s.each(sps, func(nal []byte) {
		if len(b)+2+len(nal) > maxAVCConfig || count == 255 {
			return
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(nal)))
		b = append(b, nal...)
		if count++; count == 0 { // the SPS; how many PPSs there are follows it
			b = append(b, 0)
		}
	})
	b[6+2+len(sps.nal)] = byte(count)
	if hasChroma(sps.nal[1]) {
		b = append(b, 0xfc|byte(sps.chroma), 0xf8|byte(sps.depth-8), 0xf8|byte(sps.chromaDepth-8), 0)
	}
	return b
}

// followsAVC is Follows of two avcC records.
func followsAVC(first, next []byte) bool {
	if len(first) < 4 || len(next) < 4 || first[1] != next[1] {
		return false
	}
	return !hasChroma(first[1]) || bytes.Equal(avcChroma(first), avcChroma(next))
}

// avcChroma gives the chroma format and the bit depths at the end of an avcC
// record.
func avcChroma(b []byte) []byte { return b[max(len(b)-4, 0) : len(b)-1] }

// hasChroma tells whether avcC of a profile says more than the profile does.
func hasChroma(profile byte) bool { return profile != 66 && profile != 77 && profile != 88 }

// parseSPS reads a sequence parameter set, after the NAL unit's header and
// without emulation prevention, and tells whether it can be right.
func parseSPS(r *bits, p *h264SPS) (id int, ok bool) {
	profile := r.read(8)
	r.read(8 + 8) // constraints, level_idc
	id = r.ue()
	p.chroma, p.depth, p.chromaDepth = 1, 8, 8
	switch profile {
	case 100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135:
		p.chroma = r.ue()
		if p.chroma == 3 {
			p.planes = r.flag()
		}
		p.depth, p.chromaDepth = 8+r.ue(), 8+r.ue()
		r.read(1)     // qpprime_y_zero_transform_bypass_flag
		if r.flag() { // seq_scaling_matrix_present_flag
			lists := 8
			if p.chroma == 3 {
				lists = 12
			}
			for i := range lists {
				if r.flag() {
					skipScalingList(r, i)
				}
			}
		}
	}
	p.frameNumBits = 4 + r.ue()
	p.pocType = r.ue()
	switch p.pocType {
	case 0:
		p.pocBits = 4 + r.ue()
	case 1:
		r.read(1)
		r.ue() // the two offsets are signed, which changes no length
		r.ue()
		for n := r.ue(); n > 0 && !r.short; n-- {
			r.ue()
		}
	}
	r.ue()    // max_num_ref_frames
	r.read(1) // gaps_in_frame_num_value_allowed_flag
	width, height := 16*(r.ue()+1), 16*(r.ue()+1)
	p.fields = !r.flag() // frame_mbs_only_flag
	unitX, unitY := 1, 1
	if p.fields {
		height *= 2
		unitY = 2
		r.read(1)
	}
	r.read(1)     // direct_8x8_inference_flag
	if r.flag() { // frame_cropping_flag
		if p.chroma == 1 || p.chroma == 2 {
			unitX *= 2
		}
		if p.chroma == 1 {
			unitY *= 2
		}
		width -= unitX * (r.ue() + r.ue())
		height -= unitY * (r.ue() + r.ue())
	}
	p.width, p.height = width, height
	ok = !r.short && id < maxSPS && p.chroma <= 3 && p.depth <= 14 && p.chromaDepth <= 14 &&
		p.frameNumBits <= 16 && p.pocType <= 2 && p.pocBits <= 16 && width > 0 && height > 0 && width <= maxH264Size && height <= maxH264Size
	return id, ok
}

func skipScalingList(r *bits, i int) {
	size := 16
	if i >= 6 {
		size = 64
	}
	last, next := 8, 8
	for range size {
		if next != 0 {
			d := r.ue()
			if d&1 == 0 {
				d = -d / 2
			} else {
				d = (d + 1) / 2
			}
			next = (last + d) & 0xff
		}
		if next != 0 {
			last = next
		}
		if r.short {
			return
		}
	}
}

// ue reads an unsigned Exp-Golomb code (ITU-T H.264 §9.1). One that is longer
// than any in use is taken as the end of the data.
func (r *bits) ue() int {
	n := 0
	for !r.flag() {
		if n++; n > 20 {
			r.short = true
		}
		if r.short {
			return 0
		}
	}
	return 1<<n - 1 + r.read(n)
}

// unescape appends what is in a NAL unit without its emulation prevention bytes
// (ITU-T H.264 §7.4.1).
func unescape(dst, nal []byte) []byte {
	zeros := 0
	for _, c := range nal {
		if zeros >= 2 && c == 3 {
			zeros = 0
			continue
		}
		if c == 0 {
			zeros++
		} else {
			zeros = 0
		}
		dst = append(dst, c)
	}
	return dst
}
