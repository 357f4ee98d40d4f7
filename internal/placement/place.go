package placement

import (
	"cmp"
	"errors"
	"slices"
)

// node is a recorder while cameras are placed on it.
type node struct {
	*Recorder
	index   int     // in the input
	weight  float64 // its part of the cameras of its role, relative to others
	share   float64 // the same in bit/s
	cameras int
	dual    int64            // bit/s of cameras that record here always
	spare   map[string]int64 // bit/s of those that record here when a primary does not, by primary
}

// copyOf is a camera with what is decided of it.
type copyOf struct {
	*Camera
	index int
	rate  int64
	pair  [2]*node // primary, redundant
}

// planner holds the state of one call of New.
type planner struct {
	cameras  []*copyOf // in the order of the input
	nodes    []*node   // in the order of the input
	byName   map[string]*node
	problems []placed
}

// The copies of a camera, as indexes.
const (
	first = iota
	second
)

var roles = [...]Role{first: Primary, second: Redundant}

func newPlanner(cameras []Camera, recorders []Recorder) *planner {
	p := &planner{byName: make(map[string]*node, len(recorders))}
	for i := range recorders {
		p.nodes = append(p.nodes, &node{Recorder: &recorders[i], index: i, spare: map[string]int64{}})
	}
	for i := range cameras {
		c := &copyOf{Camera: &cameras[i], index: i, rate: cameras[i].Bitrate}
		if c.rate == 0 {
			c.rate = DefaultBitrate
		}
		p.cameras = append(p.cameras, c)
	}
	return p
}

func (p *planner) err() error {
	slices.SortStableFunc(p.problems, func(a, b placed) int { return cmp.Compare(a.at, b.at) })
	all := make([]error, len(p.problems))
	for i, problem := range p.problems {
		all[i] = problem.Problem
	}
	return errors.Join(all...)
}

// place decides all pairs. Everything is done in an order that the input's does not
// influence.
func (p *planner) place() {
	order := slices.Clone(p.cameras)
	// Large ones first: small ones fit into what is left.
	slices.SortFunc(order, func(a, b *copyOf) int {
		return cmp.Or(cmp.Compare(b.rate, a.rate), cmp.Compare(a.Name, b.Name))
	})
	for copy := range roles {
		for _, c := range order {
			if name := c.given(copy); name != "" {
				c.pair[copy] = p.byName[name]
			}
		}
	}
	for copy := range roles {
		p.placeRole(copy, order)
	}
}

func (p *planner) placeRole(copy int, order []*copyOf) {
	pool := p.pool(copy)
	weigh(pool, order)
	for _, c := range order {
		if n := c.pair[copy]; n != nil {
			n.add(c, copy)
		}
	}
	p.checkByHand(pool)

	largest := int64(0)
	for _, c := range order {
		largest = max(largest, c.rate)
	}
	var left []*copyOf
	for _, c := range order {
		if c.pair[copy] != nil {
			continue
		}
		n := choose(pool, c, copy, largest)
		if n == nil {
			left = append(left, c)
			continue
		}
		c.pair[copy] = n
		n.add(c, copy)
	}
	p.checkLeft(copy, pool, left)
	for _, c := range left {
		n := slices.MinFunc(pool, func(a, b *node) int {
			return cmp.Or(cmp.Compare(float64(a.sum())/a.weight, float64(b.sum())/b.weight), cmp.Compare(a.Name, b.Name))
		})
		c.pair[copy] = n
		n.add(c, copy)
	}
}

func (p *planner) pool(copy int) []*node {
	var pool []*node
	for _, n := range p.nodes {
		if n.Role == roles[copy] {
			pool = append(pool, n)
		}
	}
	// By name: floats are summed up in this order.
	slices.SortFunc(pool, func(a, b *node) int { return cmp.Compare(a.Name, b.Name) })
	return pool
}

// weigh sets weights and shares: in proportion to capacity, and a recorder without one
// counts like the mean of those that have one.
func weigh(pool []*node, cameras []*copyOf) {
	declared, of := 0.0, 0
	for _, n := range pool {
		if n.Capacity > 0 {
			declared += float64(n.Capacity)
			of++
		}
	}
	mean := 1.0
	if of > 0 {
		mean = declared / float64(of)
	}
	all := 0.0
	for _, n := range pool {
		n.weight = mean
		if n.Capacity > 0 {
			n.weight = float64(n.Capacity)
		}
		all += n.weight
	}
	total := 0.0
	for _, c := range cameras {
		total += float64(c.rate)
	}
	for _, n := range pool {
		n.share = total / all * n.weight
	}
}

// choose returns the recorder for a copy of a camera, nil when none has the capacity:
// the best by zone, then by how far it would be over its share, then by score.
func choose(pool []*node, c *copyOf, copy int, largest int64) *node {
	type candidate struct {
		node        *node
		zone, level int
		score       float64
	}
	var best candidate
	for _, n := range pool {
		if !n.fits(c, copy) {
			continue
		}
		next := candidate{n, nearness(n, c.pair[1-copy]), n.level(c.rate, largest), score(c.Name, n.Name, n.weight)}
		if best.node == nil || cmp.Or(
			cmp.Compare(next.zone, best.zone),
			cmp.Compare(next.level, best.level),
			cmp.Compare(best.score, next.score),
			cmp.Compare(next.node.Name, best.node.Name)) < 0 {
			best = next
		}
	}
	return best.node
}

// nearness is 0 when the recorders are in different zones, 2 when they are in one, and
// 1 when that is not known of n.
func nearness(n, other *node) int {
	switch {
	case other == nil || other.Zone == "":
		return 0
	case n.Zone == "":
		return 1
	case n.Zone == other.Zone:
		return 2
	}
	return 0
}

// slack is how much more than its share a recorder takes before the next one by score
// gets the camera. Less of it: more balance, and more cameras that move when a recorder
// comes or goes. With 100 cameras of different rates on 8 recorders, 1.05 moves 2.3
// times those that must, 1.15 1.7 times, 1.25 1.4 times.
const slack = 1.15

// level is how far n would be over its share with one more camera: 0 within the slack,
// 1 within the slack and one camera, which some recorder always is when all are open to
// all cameras, and then a step for every further slack.
func (n *node) level(rate, largest int64) int {
	after := float64(add(n.sum(), rate))
	limit := float64(n.share * slack) // rounded here: the same on processors that fuse it with the addition
	if after <= limit {
		return 0
	}
	limit += float64(largest)
	level := 1
	for ; after > limit; level++ {
		limit *= slack
	}
	return level
}

// add counts the camera in.
func (n *node) add(c *copyOf, copy int) {
	n.cameras++
	if copy == second && c.spare() {
		n.spare[c.pair[first].Name] = add(n.spare[c.pair[first].Name], c.rate)
		return
	}
	n.dual = add(n.dual, c.rate)
}

// sum is the load when all cameras record.
func (n *node) sum() int64 {
	sum := n.dual
	for _, rate := range n.spare {
		sum = add(sum, rate)
	}
	return sum
}

// peak is the load when the worst primary fails.
func (n *node) peak() int64 {
	worst := int64(0)
	for _, rate := range n.spare {
		worst = max(worst, rate)
	}
	return add(n.dual, worst)
}

func (n *node) fits(c *copyOf, copy int) bool {
	if n.Capacity == 0 {
		return true
	}
	if copy == second && c.spare() {
		worst := add(n.spare[c.pair[first].Name], c.rate)
		return max(n.peak(), add(n.dual, worst)) <= n.Capacity
	}
	return add(n.peak(), c.rate) <= n.Capacity
}

func (c *copyOf) spare() bool { return c.Copies == Spare }

func (c *copyOf) given(copy int) string {
	if copy == first {
		return c.Primary
	}
	return c.Redundant
}

// add saturates: an absurd rate in a file is too much, not negative.
func add(a, b int64) int64 {
	if sum := a + b; sum >= a {
		return sum
	}
	return 1<<63 - 1
}

func (p *planner) plan() *Plan {
	plan := &Plan{Cameras: make(map[string]Pair, len(p.cameras))}
	for _, c := range p.cameras {
		a, b := c.pair[first], c.pair[second]
		plan.Cameras[c.Name] = Pair{Primary: a.Name, Redundant: b.Name, Copies: cmp.Or(c.Copies, Dual)}
	}
	plan.Warnings = p.sameZone()
	for _, n := range p.nodes {
		l := Load{Recorder: *n.Recorder, Cameras: n.cameras, Bitrate: n.sum(), Peak: n.peak()}
		if l.Bitrate > 0 {
			l.Retention = int64(float64(n.Quota) / float64(l.Bitrate) * 8)
		}
		plan.Loads = append(plan.Loads, l)
	}
	return plan
}
