package plot

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"
)

// pngScale is how many pixels of a PNG are one of the picture.
const pngScale = 2

// raster is a canvas of pixels.
type raster struct {
	img   *image.RGBA
	font  *opentype.Font
	faces map[float64]font.Face
}

func newRaster(width, height int) (*raster, error) {
	f, err := opentype.Parse(goregular.TTF)
	if err != nil {
		return nil, fmt.Errorf("plot: reading the font: %w", err)
	}
	return &raster{
		img:  image.NewRGBA(image.Rect(0, 0, pngScale*width, pngScale*height)),
		font: f, faces: map[float64]font.Face{},
	}, nil
}

func (r *raster) encode() ([]byte, error) {
	var b bytes.Buffer
	if err := png.Encode(&b, r.img); err != nil {
		return nil, fmt.Errorf("plot: making a PNG: %w", err)
	}
	return b.Bytes(), nil
}

func (r *raster) rect(x, y, w, h float64, c color.RGBA) {
	if x == math.Trunc(x) && y == math.Trunc(y) && w == math.Trunc(w) && h == math.Trunc(h) {
		area := image.Rect(int(x), int(y), int(x+w), int(y+h))
		area.Min, area.Max = area.Min.Mul(pngScale), area.Max.Mul(pngScale)
		draw.Draw(r.img, area, image.NewUniform(c), image.Point{}, draw.Src)
		return
	}
	r.polygon([]point{{x, y}, {x + w, y}, {x + w, y + h}, {x, y + h}}, c)
}

func (r *raster) bars(list []bar, width float64, c color.RGBA) {
	for _, b := range list {
		from, to := min(b.from, b.to), max(b.from, b.to)
		r.polygon([]point{{b.x - width/2, from}, {b.x + width/2, from}, {b.x + width/2, to}, {b.x - width/2, to}}, c)
	}
}

func (r *raster) dashed(x, from, to float64, c color.RGBA) {
	for y := from; y < to; y += 8 {
		r.bars([]bar{{x, y, min(y+5, to)}}, 1.5, c)
	}
}

// polygon fills a shape. Only the pixels around it are looked at.
func (r *raster) polygon(list []point, c color.RGBA) {
	if len(list) == 0 {
		return
	}
	lo, hi := list[0], list[0]
	for _, p := range list {
		lo, hi = point{min(lo.x, p.x), min(lo.y, p.y)}, point{max(hi.x, p.x), max(hi.y, p.y)}
	}
	area := image.Rect(int(math.Floor(lo.x*pngScale)), int(math.Floor(lo.y*pngScale)), int(math.Ceil(hi.x*pngScale)), int(math.Ceil(hi.y*pngScale)))
	v := vector.NewRasterizer(area.Dx(), area.Dy())
	for i, p := range list {
		x, y := float32(p.x*pngScale-float64(area.Min.X)), float32(p.y*pngScale-float64(area.Min.Y))
		if i == 0 {
			v.MoveTo(x, y)
		} else {
			v.LineTo(x, y)
		}
	}
	v.ClosePath()
	v.Draw(r.img, area, image.NewUniform(c), image.Point{})
}

func (r *raster) dot(x, y, radius float64, c color.RGBA) {
	const corners = 16
	list := make([]point, corners)
	for i := range list {
		sin, cos := math.Sincos(2 * math.Pi * float64(i) / corners)
		list[i] = point{x + radius*cos, y + radius*sin}
	}
	r.polygon(list, c)
}

func (r *raster) text(x, y, size float64, a anchor, c color.RGBA, s string) {
	face, ok := r.faces[size]
	if !ok {
		var err error
		face, err = opentype.NewFace(r.font, &opentype.FaceOptions{Size: size * pngScale, DPI: 72, Hinting: font.HintingNone})
		if err != nil {
			return // the font was read, so there is a face of any size
		}
		r.faces[size] = face
	}
	d := font.Drawer{Dst: r.img, Src: image.NewUniform(c), Face: face}
	d.Dot = fixed.Point26_6{X: fixed.Int26_6(x * pngScale * 64), Y: fixed.Int26_6(y * pngScale * 64)}
	switch w := d.MeasureString(s); a {
	case middle:
		d.Dot.X -= w / 2
	case end:
		d.Dot.X -= w
	}
	d.DrawString(s)
}
