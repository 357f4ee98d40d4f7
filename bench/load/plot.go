package load

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	plotWidth  = 16 * vg.Centimeter
	plotHeight = 9 * vg.Centimeter
)

// palette has a colour for each system, in the order in which they are measured; they
// differ in lightness too.
func palette(i int) color.Color {
	colours := []color.RGBA{
		{0x1b, 0x6c, 0xa8, 255}, {0xf2, 0xa5, 0x41, 255}, {0x5c, 0x94, 0x6e, 255}, {0xb0, 0x3a, 0x48, 255}, {0x80, 0x80, 0x80, 255},
	}
	return colours[i%len(colours)]
}

// series is a row of figures under one name.
type series struct {
	name   string
	values []Spread
}

// newPlot returns an empty plot in the style of all.
func newPlot(title, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.Title.Padding = vg.Points(6)
	p.Y.Label.Text = y
	p.Y.Min = 0
	p.Legend.Top = true
	p.Legend.Left = true
	grid := plotter.NewGrid()
	grid.Vertical.Color = nil
	grid.Horizontal.Color = color.Gray{0xdd}
	p.Add(grid)
	p.BackgroundColor = color.White
	return p
}

// svg draws a plot.
func svg(p *plot.Plot) ([]byte, error) {
	c := vgsvg.New(plotWidth, plotHeight)
	p.Draw(draw.New(c))
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return nil, fmt.Errorf("draw %q: %w", p.Title.Text, err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// bars draws one group of bars for each label, with the spread over the rounds. Each
// series has a value for each label.
func bars(title, y string, labels []string, list []series) ([]byte, error) {
	p := newPlot(title, y)
	width := vg.Length(float64(plotWidth) * 0.62 / float64(max(1, len(labels)*len(list))))
	width = min(width, vg.Centimeter)
	top := 0.0
	for i, s := range list {
		offset := width * vg.Length(float64(i)-float64(len(list)-1)/2)
		values := make(plotter.Values, len(s.values))
		var e spreads
		for j, v := range s.values {
			values[j] = v.Median
			e.at = append(e.at, plotter.XY{X: float64(j), Y: v.Median})
			e.low = append(e.low, v.Median-v.Min)
			e.high = append(e.high, v.Max-v.Median)
			top = math.Max(top, v.Max)
		}
		b, err := plotter.NewBarChart(values, width)
		if err != nil {
			return nil, err
		}
		b.Color, b.Offset, b.LineStyle.Width = palette(i), offset, 0
		p.Add(b, &errorMarks{spreads: e, offset: offset})
		if len(list) > 1 {
			p.Legend.Add(s.name, b)
		}
	}
	p.NominalX(labels...)
	p.X.Min, p.X.Max = -0.6, float64(len(labels))-0.4
	p.Y.Max = headroom(top, len(list) > 1)
	return svg(p)
}

// ranked draws one bar for each label, lying, so that labels may be long; with the spread
// over the rounds.
func ranked(title, unit string, labels []string, values []Spread) ([]byte, error) {
	p := newPlot(title, "")
	p.X.Label.Text = unit
	n := len(labels)
	names, medians := make([]string, n), make(plotter.Values, n)
	e := &errorMarks{lying: true}
	spare := strings.Repeat("\u00a0", 10)
	for i, v := range values {
		at := n - 1 - i // the first one on top
		// Browsers have another font than the one that the labels are measured in.
		names[at], medians[at] = strings.ReplaceAll(wrap(labels[i], 38), "\n", spare+"\n")+spare, v.Median
		e.at = append(e.at, plotter.XY{X: float64(at), Y: v.Median})
		e.low, e.high = append(e.low, v.Median-v.Min), append(e.high, v.Max-v.Median)
		p.X.Max = math.Max(p.X.Max, v.Max)
	}
	b, err := plotter.NewBarChart(medians, min(vg.Centimeter, plotHeight*0.5/vg.Length(max(1, n))))
	if err != nil {
		return nil, err
	}
	b.Color, b.LineStyle.Width, b.Horizontal = palette(0), 0, true
	p.Add(b, e)
	p.NominalY(names...)
	p.Y.Tick.Label.Font.Size = vg.Points(8)
	p.X.Min, p.X.Max = 0, headroom(p.X.Max, false)
	p.Y.Min, p.Y.Max = -0.6, float64(n)-0.4
	return svg(p)
}

// lines draws a line for each series over the same x.
func lines(title, x, y string, xs []float64, list []series) ([]byte, error) {
	p := newPlot(title, y)
	p.X.Label.Text = x
	p.X.Min = 0
	top := 0.0
	for i, s := range list {
		var e spreads
		for j, v := range s.values {
			if j < len(xs) && v != (Spread{}) {
				e.at = append(e.at, plotter.XY{X: xs[j], Y: v.Median})
				e.low = append(e.low, v.Median-v.Min)
				e.high = append(e.high, v.Max-v.Median)
				top = math.Max(top, v.Max)
			}
		}
		if len(e.at) == 0 {
			continue
		}
		l, pts, err := plotter.NewLinePoints(e.at)
		if err != nil {
			return nil, err
		}
		l.Color, l.Width = palette(i), vg.Points(1.5)
		pts.Color, pts.Shape, pts.Radius = palette(i), draw.CircleGlyph{}, vg.Points(2.5)
		p.Add(l, pts, &errorMarks{spreads: e})
		p.Legend.Add(s.name, l, pts)
	}
	p.X.Max *= 1.05
	p.Y.Max = headroom(top, true)
	return svg(p)
}

// headroom leaves room for the legend above what is drawn.
func headroom(top float64, legend bool) float64 {
	switch {
	case top == 0:
		return 1
	case legend:
		return top * 1.35
	}
	return top * 1.1
}

// spreads are points with what lies below and above them.
type spreads struct {
	at        plotter.XYs
	low, high []float64
}

// errorMarks draws the least and the largest of the rounds, at an offset like that of bars.
type errorMarks struct {
	spreads
	offset vg.Length
	lying  bool // values go to the right
}

// Plot implements plot.Plotter.
func (e *errorMarks) Plot(c draw.Canvas, p *plot.Plot) {
	tx, ty := p.Transforms(&c)
	style := draw.LineStyle{Color: color.Gray{0x30}, Width: vg.Points(0.8)}
	for i, at := range e.at {
		if e.low[i] == 0 && e.high[i] == 0 {
			continue
		}
		if e.lying {
			y := ty(at.X)
			c.StrokeLine2(style, tx(at.Y-e.low[i]), y, tx(at.Y+e.high[i]), y)
			continue
		}
		x := tx(at.X) + e.offset
		c.StrokeLine2(style, x, ty(at.Y-e.low[i]), x, ty(at.Y+e.high[i]))
		for _, y := range []vg.Length{ty(at.Y - e.low[i]), ty(at.Y + e.high[i])} {
			c.StrokeLine2(style, x-vg.Points(2), y, x+vg.Points(2), y)
		}
	}
}

// quantiles draws the latencies of each system up to the last access unit of ten thousand.
func quantiles(title string, names []string, list []Latency) ([]byte, error) {
	p := newPlot(title, "ms")
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Y.Min, p.Y.Max = math.Inf(1), 0
	for i, l := range list {
		var at plotter.XYs
		for j, v := range []float64{l.P50, l.P90, l.P99, l.P999, l.Max} {
			v = math.Max(v, 0.01)
			at = append(at, plotter.XY{X: float64(j), Y: v})
			p.Y.Min, p.Y.Max = math.Min(p.Y.Min, v), math.Max(p.Y.Max, v)
		}
		line, pts, err := plotter.NewLinePoints(at)
		if err != nil {
			return nil, err
		}
		line.Color, line.Width = palette(i), vg.Points(1.5)
		pts.Color, pts.Shape = palette(i), draw.CircleGlyph{}
		p.Add(line, pts)
		p.Legend.Add(names[i], line, pts)
	}
	// Whole powers of ten, so that the scale has marks at both ends.
	p.Y.Min = math.Pow(10, math.Floor(math.Log10(p.Y.Min)))
	p.Y.Max = math.Pow(10, math.Ceil(math.Log10(p.Y.Max)+0.01))
	p.NominalX("p50", "p90", "p99", "p99.9", "most")
	return svg(p)
}

// wrapAll breaks labels into lines, so that they do not run into each other.
func wrapAll(labels []string) []string {
	out := make([]string, len(labels))
	for i, l := range labels {
		out[i] = wrap(l, 14)
	}
	return out
}

func wrap(s string, width int) string {
	var b strings.Builder
	at := 0
	for i, w := range strings.Fields(s) {
		switch {
		case i == 0:
		case at+1+len(w) > width:
			b.WriteByte('\n')
			at = 0
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(w)
		at += len(w)
	}
	return b.String()
}
