package plot

import (
	"fmt"
	"image/color"
	"math"
	"strings"
	"time"
)

// The layout, in pixels.
const (
	pictureWidth = 1200
	left, right  = 90, 30 // margins of the panels
	plotWidth    = pictureWidth - left - right
	headHeight   = 92
	panelHeight  = 150
	panelGap     = 42
	stripHeight  = 20
	footHeight   = 56
)

// The colours can be told apart by people who don't see all of them, and
// keyframes have a shape of their own as well.
var (
	white      = color.RGBA{255, 255, 255, 255}
	ink        = color.RGBA{34, 34, 34, 255}
	pale       = color.RGBA{95, 95, 95, 255}
	grid       = color.RGBA{226, 226, 226, 255}
	frameInk   = color.RGBA{0, 114, 178, 255}
	keyInk     = color.RGBA{213, 94, 0, 255}
	audioInk   = color.RGBA{0, 140, 100, 255}
	gapInk     = color.RGBA{250, 214, 222, 255}
	sizeInk    = color.RGBA{110, 50, 150, 255}
	chunkInk   = color.RGBA{90, 90, 90, 255}
	bitrateInk = color.RGBA{86, 160, 210, 255}
	framePale  = color.RGBA{158, 203, 228, 255}
	audioPale  = color.RGBA{158, 212, 194, 255}
)

// SVG draws the recording; title is that of the picture, such as the file's
// name.
func (r *Recording) SVG(title string) []byte {
	r.finish()
	s := newSVG(pictureWidth, r.height(), title, r.describe())
	r.draw(s, title)
	return s.close()
}

// PNG is as SVG, in pixels.
func (r *Recording) PNG(title string) ([]byte, error) {
	p, err := newRaster(pictureWidth, r.height())
	if err != nil {
		return nil, err
	}
	r.finish()
	r.draw(p, title)
	return p.encode()
}

// height gives that of the picture: a panel for the bitrate and for each track.
func (r *Recording) height() int {
	return headHeight + (1+len(r.lanes))*(panelHeight+panelGap) + stripHeight + footHeight
}

// describe says in words what is in the picture.
func (r *Recording) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of media in %d chunks.", clock(r.length().Round(time.Second), time.Second), r.count)
	for _, l := range r.lanes {
		fmt.Fprintf(&b, " Track %d, %s: %d frames", l.number, l.name, l.frames)
		if l.video {
			fmt.Fprintf(&b, ", %d keyframes", l.keys)
		}
		switch len(l.gaps) {
		case 0:
			b.WriteString(", no gap.")
		case 1:
			fmt.Fprintf(&b, ", a gap of %s.", silent(l))
		default:
			fmt.Fprintf(&b, ", %d gaps of %s in all.", len(l.gaps), silent(l))
		}
	}
	if r.hidden > 0 {
		fmt.Fprintf(&b, " %d more tracks are not drawn.", r.hidden)
	}
	return b.String()
}

func silent(l *lane) string {
	var sum time.Duration
	for _, g := range l.gaps {
		sum += g.to - g.from
	}
	return fmt.Sprintf("%.1f s", sum.Seconds())
}

// length is how much time the axis has.
func (r *Recording) length() time.Duration { return max(r.end, 10*time.Millisecond) }

// x gives the place of a time.
func (r *Recording) x(at time.Duration) float64 {
	return left + plotWidth*float64(at)/float64(r.length())
}

func (r *Recording) draw(c canvas, title string) {
	c.rect(0, 0, pictureWidth, float64(r.height()), white)
	c.text(left, 30, 19, start, ink, shorten(title, 100))
	c.text(left, 52, 13, start, pale, shorten(r.describe(), 150))
	r.legend(c, 76)

	y := float64(headHeight + 20)
	r.bitrate(c, y)
	for _, l := range r.lanes {
		y += panelHeight + panelGap
		r.frames(c, y, l)
	}
	y += panelHeight + panelGap
	r.strip(c, y-12)
	r.timeAxis(c, y-12+stripHeight)
}

// legend says what the colours mean.
func (r *Recording) legend(c canvas, y float64) {
	x := float64(left)
	entry := func(width float64, text string, mark func(x float64)) {
		mark(x)
		c.text(x+16, y, 12, start, ink, text)
		x += width
	}
	entry(110, "bitrate", func(x float64) { c.rect(x, y-9, 10, 10, bitrateInk) })
	entry(120, "video frame", func(x float64) { c.rect(x, y-9, 10, 10, frameInk) })
	entry(100, "keyframe", func(x float64) { c.dot(x+5, y-4, 4, keyInk) })
	entry(130, "audio packet", func(x float64) { c.rect(x, y-9, 10, 10, audioInk) })
	entry(210, fmt.Sprintf("gap (video > %v, audio > %v)", videoGap, audioGap), func(x float64) { c.rect(x, y-9, 10, 10, gapInk) })
	x += 40
	entry(120, "resolution", func(x float64) { c.dashed(x+5, y-11, y+2, sizeInk) })
	entry(100, "chunk begins", func(x float64) { c.bars([]bar{{x + 5, y - 10, y + 1}}, 1.5, chunkInk) })
}

// panel draws the frame of a panel: grid, axis to the left and caption. It gives
// what turns a value into a place.
func (r *Recording) panel(c canvas, y, top float64, unit func(float64) string, caption string) func(float64) float64 {
	step := niceStep(top / 4)
	top = step * max(math.Ceil(top/step), 1)
	at := func(v float64) float64 { return y + panelHeight - panelHeight*v/top }
	for v := 0.0; v <= top+step/2; v += step {
		c.rect(left, math.Round(at(v)), plotWidth, 1, grid)
		c.text(left-8, at(v)+4, 11, end, pale, unit(v))
	}
	c.text(left, y-8, 13, start, ink, caption)
	return at
}

// bitrate draws how much all tracks together have sent.
func (r *Recording) bitrate(c canvas, y float64) {
	// A frame is no bitrate: it takes some of them to make one.
	slot := max(r.length()/300, 250*time.Millisecond, r.width)
	slot = (slot + r.width - 1) / r.width * r.width
	per := int(slot / r.width)
	sums := make([]float64, int(r.length()/slot)+1)
	var total int64
	for _, l := range r.lanes {
		for i, b := range l.bins {
			sums[min(i/per, len(sums)-1)] += 8 * float64(b.bytes)
			total += b.bytes
		}
	}
	top := 0.0
	for i := range sums {
		// The last slot is as long as the recording goes on.
		length := min(slot, r.length()-time.Duration(i)*slot)
		sums[i] /= max(length, slot/4).Seconds()
		top = max(top, sums[i])
	}
	mean := 8 * float64(total) / r.length().Seconds()
	at := r.panel(c, y, top, bitText, fmt.Sprintf("Bitrate of all tracks, mean over %v: %s on the whole", slot.Round(time.Millisecond), bitText(mean)))
	outline := []point{{left, y + panelHeight}}
	for i, v := range sums {
		from, to := time.Duration(i)*slot, min(time.Duration(i+1)*slot, r.length())
		outline = append(outline, point{r.x(from), at(v)}, point{r.x(to), at(v)})
	}
	c.polygon(append(outline, point{left + plotWidth, y + panelHeight}), bitrateInk)
	r.baseline(c, y)
}

func (r *Recording) baseline(c canvas, y float64) {
	c.rect(left, y+panelHeight, plotWidth, 1, pale)
}

// frames draws the sizes of one track's frames.
func (r *Recording) frames(c canvas, y float64, l *lane) {
	top := 0.0
	for _, b := range l.bins {
		top = max(top, float64(b.top))
	}
	what, ink, light := "sizes of packets", audioInk, audioPale
	if l.video {
		what, ink, light = "sizes of frames", frameInk, framePale
	}
	name := shorten(l.name, 30)
	if len(l.sizes) > 0 {
		name += fmt.Sprintf(" %d×%d", l.sizes[0].width, l.sizes[0].height)
	}
	caption := fmt.Sprintf("Track %d, %s: %s", l.number, name, what)
	if l.frames > plotWidth {
		caption += ", mean and largest"
	}
	for _, g := range l.gaps {
		c.rect(r.x(g.from), y, max(r.x(g.to)-r.x(g.from), 1), panelHeight, gapInk)
	}
	at := r.panel(c, y, max(top, 4), byteText, caption)

	// No two bars stand closer than a pixel.
	columns := make([]bin, plotWidth)
	filled := 0
	for i, b := range l.bins {
		k := min(int(r.x(time.Duration(i)*r.width+r.width/2)-left), plotWidth-1)
		if b.count > 0 && columns[k].count == 0 {
			filled++
		}
		columns[k].merge(b)
	}
	width := min(max(0.8*plotWidth/float64(max(filled, 1)), 1), 3)
	var bars, tops []bar
	var keys []point
	for k, b := range columns {
		if b.count == 0 {
			continue
		}
		x := left + float64(k) + 0.5
		mean := at(float64(b.bytes) / float64(b.count))
		bars = append(bars, bar{x, y + panelHeight, mean})
		if b.count > 1 {
			tops = append(tops, bar{x, mean, at(float64(b.top))})
		}
		if b.key > 0 {
			keys = append(keys, point{x, at(float64(b.key))})
		}
	}
	c.bars(tops, width, light)
	c.bars(bars, width, ink)
	for _, p := range keys {
		c.bars([]bar{{p.x, y + panelHeight, p.y}}, width, keyInk)
	}
	for _, p := range keys {
		c.dot(p.x, p.y, 3, keyInk)
	}
	r.resolutions(c, y, l, left+7*float64(len(caption))+10)
	r.baseline(c, y)
}

// resolutions draws where a video's size changes, with as many labels as there
// is room for: above the panel to the right of caption, and in it below that.
func (r *Recording) resolutions(c canvas, y float64, l *lane, caption float64) {
	const labelWidth = 70
	free := float64(left)
	for i, s := range l.sizes {
		if i == 0 {
			continue // that is in the caption
		}
		x := r.x(s.at)
		c.dashed(x, y-6, y+panelHeight, sizeInk)
		if x < free || x > left+plotWidth-labelWidth {
			continue
		}
		at := y - 8
		if x < caption {
			at = y + 13
			c.rect(x+2, y+3, labelWidth-12, 13, white)
		}
		c.text(x+4, at, 11, start, sizeInk, fmt.Sprintf("%d×%d", s.width, s.height))
		free = x + labelWidth
	}
}

// strip draws where chunks begin.
func (r *Recording) strip(c canvas, y float64) {
	c.text(left-8, y+14, 11, end, pale, "chunks")
	var bars []bar
	lastX := -1.0
	for i, begins := range r.chunks {
		if x := r.x(time.Duration(i) * r.width); begins && x-lastX >= 0.5 {
			bars = append(bars, bar{x, y + 2, y + stripHeight - 2})
			lastX = x
		}
	}
	if len(bars) > plotWidth/3 { // they would be a grey mass
		c.rect(left, y+2, plotWidth, stripHeight-4, grid)
		c.text(left+plotWidth/2, y+14, 11, middle, ink, fmt.Sprintf("%d chunks, one in %v on the average",
			r.count, (r.length()/time.Duration(r.count)).Round(time.Millisecond)))
		return
	}
	c.bars(bars, 1.5, chunkInk)
}

// timeAxis draws the axis that all panels share.
func (r *Recording) timeAxis(c canvas, y float64) {
	c.rect(left, y, plotWidth, 1, ink)
	step := timeStep(r.length() / 10)
	for at := time.Duration(0); at <= r.length(); at += step {
		c.rect(math.Round(r.x(at)), y, 1, 6, ink)
		c.text(r.x(at), y+20, 12, middle, ink, clock(at, step))
	}
	c.text(left+plotWidth/2, y+40, 12, middle, pale, "time in the recording")
}
