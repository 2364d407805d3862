package dependency

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

// nonSymmetric reads a number below n, ns(n) (AV1 bitstream specification
// §4.10.7).
func (r *bits) nonSymmetric(n int) int {
	w := 0
	for x := n; x != 0; x >>= 1 {
		w++
	}
	m := 1<<w - n
	v := r.read(w - 1)
	if v < m {
		return v
	}
	return v<<1 - m + r.read(1)
}

// writer writes a bit string, most significant bit first.
type writer struct {
	b   []byte
	pos int
}

// put writes the n lowest bits of v.
func (w *writer) put(n int, v uint32) {
	for i := n - 1; i >= 0; i-- {
		if w.pos%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[w.pos/8] |= byte(v>>i&1) << (7 - w.pos%8)
		w.pos++
	}
}

// copy writes the bits of b from one place to another.
func (w *writer) copy(b []byte, from, to int) {
	r := bits{b: b, pos: from}
	for r.pos < to {
		w.put(1, uint32(r.read(1)))
	}
}
