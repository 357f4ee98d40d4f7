package flame

import (
	"cmp"
	"path"
	"slices"
)

// tree puts the samples together, from the outermost function inwards.
func (p *profile) tree() *Node {
	root := &Node{Name: "all"}
	for _, s := range p.samples {
		at := root
		at.Total += s.value
		for _, l := range slices.Backward(s.locations) {
			for _, f := range slices.Backward(p.locations[l]) {
				at = at.child(p.name(f))
				at.Total += s.value
			}
		}
		at.Self += s.value
	}
	root.sort()
	return root
}

func (n *Node) child(name string) *Node {
	for _, c := range n.Children {
		if c.Name == name {
			return c
		}
	}
	c := &Node{Name: name}
	n.Children = append(n.Children, c)
	return c
}

func (n *Node) sort() {
	slices.SortStableFunc(n.Children, func(a, b *Node) int { return cmp.Compare(b.Total, a.Total) })
	for _, c := range n.Children {
		c.sort()
	}
}

// Share is a function's part of everything, over all paths to it.
type Share struct {
	Name string
	// Self and Total are between 0 and 1.
	Self, Total float64
}

// Top returns the functions in which most time was spent themselves.
func (n *Node) Top(limit int) []Share {
	self, total := map[string]int64{}, map[string]int64{}
	n.count(self, total, map[string]bool{})
	var out []Share
	for name, v := range self {
		out = append(out, Share{name, part(v, n.Total), part(total[name], n.Total)})
	}
	slices.SortFunc(out, func(a, b Share) int {
		return cmp.Or(cmp.Compare(b.Self, a.Self), cmp.Compare(a.Name, b.Name))
	})
	return out[:min(limit, len(out))]
}

// Of returns which part was spent in functions that match, and below them.
func (n *Node) Of(match func(name string) bool) float64 {
	var sum func(*Node) int64
	sum = func(x *Node) int64 {
		if match(x.Name) {
			return x.Total
		}
		t := int64(0)
		for _, c := range x.Children {
			t += sum(c)
		}
		return t
	}
	return part(sum(n), n.Total)
}

func part(v, of int64) float64 {
	if of == 0 {
		return 0
	}
	return float64(v) / float64(of)
}

func (n *Node) count(self, total map[string]int64, above map[string]bool) {
	self[n.Name] += n.Self
	fresh := !above[n.Name]
	if fresh { // a function that calls itself counts once
		total[n.Name] += n.Total
		above[n.Name] = true
	}
	for _, c := range n.Children {
		c.count(self, total, above)
	}
	if fresh {
		delete(above, n.Name)
	}
}

// short is a function's name without the path of its package.
func short(name string) string { return path.Base(name) }
