package dependency

import "encoding/binary"

// flagsEnd is where the flags end that only a long descriptor has, in bits.
const flagsEnd = 29

// MaxSize is how long a descriptor may be, in bytes, as a header extension of two-byte
// form (RFC 8285 §4.3).
const MaxSize = 255

// Number gives the number of the frame that a descriptor is about; ok is false when
// it is too short to have one.
func Number(b []byte) (n uint16, ok bool) {
	if len(b) < 3 {
		return 0, false
	}
	return binary.BigEndian.Uint16(b[1:]), true
}

// Renumber gives a copy of a descriptor whose frame has another number. One that is
// too short to have a number is given as it is.
func Renumber(b []byte, number uint16) []byte {
	if len(b) < 3 {
		return b
	}
	b = append([]byte(nil), b...)
	binary.BigEndian.PutUint16(b[1:], number)
	return b
}

// Activate gives a copy of a descriptor that says which decode targets are sent. f is
// what Read gave for it, and was ok. When there is no room for more, the descriptor is
// given as it is.
func Activate(b []byte, f *Frame, active uint32) []byte {
	r := bits{b: b}
	w := writer{b: make([]byte, 0, len(b)+5)}
	w.put(24, uint32(r.read(24)))
	var flags uint32
	if len(b) > 3 {
		flags = uint32(r.read(5))
	}
	w.put(5, flags|0x08) // active_decode_targets_present_flag
	w.copy(b, flagsEnd, f.structureEnd)
	w.put(f.Targets, active)
	w.copy(b, f.maskEnd, f.end)
	if len(w.b) > MaxSize {
		return b
	}
	return w.b
}
