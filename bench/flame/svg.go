package flame

import (
	"encoding/xml"
	"fmt"
	"hash/fnv"
	"strings"
)

const (
	width     = 1200.0
	rowHeight = 16.0
	top       = 28.0
	// hidden is the part of everything below which nothing is drawn.
	hidden     = 0.002
	charWidth  = 6.2
	fontFamily = "Verdana, DejaVu Sans, sans-serif"
)

// SVG draws a flame graph: callers stand below what they call, and the wider a function the
// more time was spent in it. A pointer that rests on one shows its whole name.
func (n *Node) SVG(title string) []byte {
	depth := n.depth(n.Total)
	height := top + float64(depth)*rowHeight + 8
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" width="%g" height="%g" font-family="%s" font-size="11">`+"\n",
		width, height, width, height, fontFamily)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#fff"/><text x="8" y="18" font-size="13">%s</text>`+"\n", escape(title))
	n.draw(&b, 0, width, height-8-rowHeight, n.Total)
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

func (n *Node) depth(all int64) int {
	if part(n.Total, all) < hidden {
		return 0
	}
	deepest := 0
	for _, c := range n.Children {
		deepest = max(deepest, c.depth(all))
	}
	return 1 + deepest
}

func (n *Node) draw(b *strings.Builder, x, w, y float64, all int64) {
	if part(n.Total, all) < hidden {
		return
	}
	label := short(n.Name)
	if room := int((w - 6) / charWidth); room < 3 {
		label = ""
	} else if r := []rune(label); len(r) > room {
		label = string(r[:room-1]) + "…"
	}
	fmt.Fprintf(b, `<g><title>%s: %.1f %%</title><rect x="%.1f" y="%.1f" width="%.1f" height="%g" fill="%s"/>`,
		escape(n.Name), 100*part(n.Total, all), x, y, max(w-0.5, 0.2), rowHeight-1, colour(n.Name))
	if label != "" {
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f">%s</text>`, x+3, y+11.5, escape(label))
	}
	b.WriteString("</g>\n")
	for _, c := range n.Children {
		cw := w * part(c.Total, n.Total)
		c.draw(b, x, cw, y-rowHeight, all)
		x += cw
	}
}

// colour is the same for all functions of a package.
func colour(name string) string {
	var pkg string
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		rest, _, _ := strings.Cut(name[i:], ".")
		pkg = name[:i] + rest
	} else {
		pkg, _, _ = strings.Cut(name, ".")
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(pkg)) // cannot fail
	return fmt.Sprintf("hsl(%d,62%%,74%%)", h.Sum32()%360)
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}
