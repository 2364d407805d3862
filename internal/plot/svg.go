package plot

import (
	"fmt"
	"html"
	"image/color"
	"strings"
)

// anchor says which end of a text its place is.
type anchor uint8

const (
	start anchor = iota
	middle
	end
)

// point is a place in the picture, in pixels from the upper left corner.
type point struct{ x, y float64 }

// canvas is what a picture is drawn on.
type canvas interface {
	rect(x, y, w, h float64, c color.RGBA)
	// bars draws vertical lines, each from (x, from) to (x, to).
	bars(list []bar, width float64, c color.RGBA)
	dashed(x, from, to float64, c color.RGBA)
	polygon(list []point, c color.RGBA)
	dot(x, y, radius float64, c color.RGBA)
	text(x, y, size float64, a anchor, c color.RGBA, s string)
}

type bar struct{ x, from, to float64 }

// svg is a canvas that writes Scalable Vector Graphics.
type svg struct{ b strings.Builder }

func newSVG(width, height int, title, description string) *svg {
	s := &svg{}
	fmt.Fprintf(&s.b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-labelledby="title desc" font-family="Helvetica, Arial, sans-serif">
<title id="title">%s</title>
<desc id="desc">%s</desc>
`, width, height, width, height, html.EscapeString(title), html.EscapeString(description))
	return s
}

func (s *svg) close() []byte {
	s.b.WriteString("</svg>\n")
	return []byte(s.b.String())
}

func (s *svg) rect(x, y, w, h float64, c color.RGBA) {
	fmt.Fprintf(&s.b, `<rect x="%s" y="%s" width="%s" height="%s" fill="%s"/>`+"\n", num(x), num(y), num(w), num(h), hex(c))
}

func (s *svg) bars(list []bar, width float64, c color.RGBA) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(&s.b, `<path stroke="%s" stroke-width="%s" d="`, hex(c), num(width))
	for _, b := range list {
		fmt.Fprintf(&s.b, "M%s %sV%s", num(b.x), num(b.from), num(b.to))
	}
	s.b.WriteString("\"/>\n")
}

func (s *svg) dashed(x, from, to float64, c color.RGBA) {
	fmt.Fprintf(&s.b, `<path stroke="%s" stroke-width="1.5" stroke-dasharray="5 3" d="M%s %sV%s"/>`+"\n", hex(c), num(x), num(from), num(to))
}

func (s *svg) polygon(list []point, c color.RGBA) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(&s.b, `<path fill="%s" d="`, hex(c))
	for i, p := range list {
		s.b.WriteByte("ML"[min(i, 1)])
		fmt.Fprintf(&s.b, "%s %s", num(p.x), num(p.y))
	}
	s.b.WriteString("Z\"/>\n")
}

func (s *svg) dot(x, y, radius float64, c color.RGBA) {
	fmt.Fprintf(&s.b, `<circle cx="%s" cy="%s" r="%s" fill="%s"/>`+"\n", num(x), num(y), num(radius), hex(c))
}

func (s *svg) text(x, y, size float64, a anchor, c color.RGBA, t string) {
	fmt.Fprintf(&s.b, `<text x="%s" y="%s" font-size="%s" text-anchor="%s" fill="%s">%s</text>`+"\n",
		num(x), num(y), num(size), [...]string{"start", "middle", "end"}[a], hex(c), html.EscapeString(t))
}

// num gives a coordinate with a tenth of a pixel.
func num(v float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
}

func hex(c color.RGBA) string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }
