package ogg

const (
	// minFill is the least that can be filled, in samples.
	minFill = sampleRate / 400
	frame20 = sampleRate / 50
	// maxFrames is how many frames of 20 ms a packet may hold (RFC 6716 §3.2.5).
	maxFrames = 6
	// fullband is the configuration of the shortest CELT frames (RFC 6716
	// §3.1); the ones after it are twice as long each.
	fullband = 28
)

// concealed appends a packet whose frames are empty, so that a decoder conceals
// them (RFC 7845 §4.1, RFC 6716 §4.4), and gives how many samples it lasts: as
// many as fit into missing, which is at least minFill.
func concealed(b []byte, missing int64, stereo byte) (packet []byte, n int64) {
	if missing >= frame20 {
		frames := min(missing/frame20, maxFrames)
		// Code 3: any number of frames of the same size, here none.
		return append(b, (fullband+3)<<3|stereo|3, byte(frames)), frames * frame20
	}
	config, n := byte(fullband), int64(minFill)
	for 2*n <= missing {
		config, n = config+1, 2*n
	}
	return append(b, config<<3|stereo), n
}
