package depacket

// pictureOrder follows the picture order counts of H264, which number pictures
// in order of presentation (ITU-T H.264 §8.2.1.1, type 0).
type pictureOrder struct {
	// msb and lsb are the parts of the count of the last picture that others
	// refer to.
	msb, lsb int
	// latest is the greatest count since the last keyframe that nothing goes
	// across.
	latest int
	// began is the count of the keyframe that decoding began with; leading is
	// set until a picture comes that is presented after it.
	began   int
	leading bool
}

// count gives the count of a picture from its least significant bits; idr tells
// that counting begins anew with it.
func (o *pictureOrder) count(lsb, bits int, idr, refers bool) int {
	if idr {
		o.msb, o.lsb = 0, 0
	}
	msb := o.msb
	switch half := 1 << (bits - 1); {
	case lsb < o.lsb && o.lsb-lsb >= half:
		msb += 2 * half
	case lsb > o.lsb && lsb-o.lsb > half:
		msb -= 2 * half
	}
	if refers {
		o.msb, o.lsb = msb, lsb
	}
	return msb + lsb
}

// order notes where the complete access unit is presented among the others, and
// whether it is one that can't be decoded since it is presented before the
// keyframe that decoding began with.
func (v *h264) order(f *Frame) {
	sps, o := v.active, &v.poc
	f.Reorders = sps.pocType != 2
	f.Open = f.Key && !v.idr && f.Reorders
	if sps.pocType != 0 || v.first.order < 0 {
		f.Reordered = v.between && f.Reorders
		return
	}
	n := o.count(v.first.order, sps.pocBits, v.idr, !v.pic.droppable)
	switch whole := v.chain.alive && !v.chain.starving && v.cur.gap == 0; {
	case v.idr:
		o.latest, o.leading = n, false
	case f.Key && !whole:
		o.latest, o.began, o.leading = n, n, true
	case o.leading && n < o.began:
		v.pic.leading = true
	case n > o.began:
		o.leading = false
	}
	f.Reordered = n < o.latest
	o.latest = max(o.latest, n)
}
