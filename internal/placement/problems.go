package placement

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// placed is a problem and its place in the order of all.
type placed struct {
	*Problem
	at int
}

func (p *planner) cameraProblem(c *copyOf, recorder, format string, args ...any) {
	p.problems = append(p.problems, placed{&Problem{Camera: c.Name, Recorder: recorder, Message: fmt.Sprintf(format, args...)}, c.index})
}

// recorderProblem is about all recorders when n is nil.
func (p *planner) recorderProblem(n *node, format string, args ...any) {
	problem, at := &Problem{Message: fmt.Sprintf(format, args...)}, len(p.cameras)+len(p.nodes)
	if n != nil {
		problem.Recorder, at = n.Name, len(p.cameras)+n.index
	}
	p.problems = append(p.problems, placed{problem, at})
}

// validate finds what is wrong before anything is placed.
func (p *planner) validate() {
	of := make(map[Role]int)
	for _, n := range p.nodes {
		if _, ok := p.byName[n.Name]; ok {
			p.recorderProblem(n, "recorder %s is there twice: give each recorder a name of its own", n.Name)
			continue
		}
		p.byName[n.Name] = n
		of[n.Role]++
		if n.Role != Primary && n.Role != Redundant {
			p.recorderProblem(n, "recorder %s has role %q: make it %s or %s", n.Name, n.Role, Primary, Redundant)
		}
		if n.Capacity < 0 || n.Quota < 0 {
			p.recorderProblem(n, "recorder %s has capacity %d bit/s and quota %d bytes: neither can be less than 0", n.Name, n.Capacity, n.Quota)
		}
	}
	for _, role := range roles {
		if of[role] == 0 {
			p.recorderProblem(nil, "there is no %s recorder, and every camera needs a primary and a redundant one: add a recorder with role %s", role, role)
		}
	}
	seen := make(map[string]bool, len(p.cameras))
	for _, c := range p.cameras {
		if seen[c.Name] {
			p.cameraProblem(c, "", "camera %s is there twice: give each camera a name of its own", c.Name)
			continue
		}
		seen[c.Name] = true
		if c.rate < 0 {
			p.cameraProblem(c, "", "camera %s has bit rate %d bit/s: it cannot be less than 0", c.Name, c.rate)
		}
		if c.Copies != "" && c.Copies != Dual && c.Copies != Spare {
			p.cameraProblem(c, "", "camera %s has copies %q: make it %s or %s", c.Name, c.Copies, Dual, Spare)
		}
		p.validateGiven(c)
	}
}

// validateGiven finds what is wrong with recorders given by hand.
func (p *planner) validateGiven(c *copyOf) {
	if c.Primary != "" && c.Primary == c.Redundant {
		p.cameraProblem(c, c.Primary, "both copies of camera %s would be on recorder %s, and one fault would take both: give another recorder, or leave one out to have it computed", c.Name, c.Primary)
		return
	}
	for copy, role := range roles {
		name := c.given(copy)
		if name == "" {
			continue
		}
		switch n := p.byName[name]; {
		case n == nil:
			p.cameraProblem(c, name, "the %s recorder of camera %s is %s, which is not there: %s", role, c.Name, name, p.choice(role))
		case n.Role != role:
			p.cameraProblem(c, name, "the %s recorder of camera %s is %s, which has role %s: %s", role, c.Name, name, n.Role, p.choice(role))
		}
	}
}

// choice says what may be given instead.
func (p *planner) choice(role Role) string {
	var names []string
	for _, n := range p.nodes {
		if n.Role == role {
			names = append(names, n.Name)
		}
	}
	if len(names) == 0 {
		return fmt.Sprintf("add a recorder with role %s", role)
	}
	return fmt.Sprintf("give %s, or none to have it computed", list(names, "or"))
}

// checkByHand finds the recorders that have too much by hand alone.
func (p *planner) checkByHand(pool []*node) {
	for _, n := range pool {
		if peak := n.peak(); n.Capacity > 0 && peak > n.Capacity {
			p.recorderProblem(n, "recorder %s has a capacity of %s, and the %s placed on it by hand need %s, %s more: move some of them, or raise its capacity",
				n.Name, rate(n.Capacity), count(n.cameras), rate(peak), rate(peak-n.Capacity))
		}
	}
}

// few cameras without room have a problem each; of more, the sum is what matters.
const few = 3

// checkLeft reports the cameras that have found no room on the recorders of a role.
func (p *planner) checkLeft(copy int, pool []*node, left []*copyOf) {
	if len(left) == 0 {
		return
	}
	capacity := int64(0)
	for _, n := range pool {
		capacity = add(capacity, n.Capacity)
	}
	if len(left) <= few {
		for _, c := range left {
			p.cameraProblem(c, "", "camera %s needs %s, and no %s recorder has room for it (%s): add a %s recorder, raise a capacity, or lower the camera's bit rate",
				c.Name, rate(c.rate), roles[copy], roomOf(pool), roles[copy])
		}
		return
	}
	need, more := int64(0), int64(0)
	for _, c := range p.cameras {
		need = add(need, c.rate)
	}
	for _, c := range left {
		more = add(more, c.rate)
	}
	p.recorderProblem(nil, "%d of %s find no room on the %s recorders: they need %s, all need %s, and the capacity is %s in all (%s): add a %s recorder, raise capacities, or lower bit rates",
		len(left), count(len(p.cameras)), roles[copy], rate(more), rate(need), rate(capacity), roomOf(pool), roles[copy])
}

// roomOf says which recorders have something left, the most first.
func roomOf(pool []*node) string {
	pool = slices.DeleteFunc(slices.Clone(pool), func(n *node) bool { return n.room() <= 0 })
	if len(pool) == 0 {
		return "nothing is left"
	}
	slices.SortStableFunc(pool, func(a, b *node) int { return cmp.Compare(b.room(), a.room()) })
	left := make([]string, len(pool))
	for i, n := range pool {
		left[i] = fmt.Sprintf("%s on %s", rate(n.room()), n.Name)
	}
	return "left: " + list(left, "and")
}

func (n *node) room() int64 { return n.Capacity - n.peak() }

// sameZone has a warning for each zone that has both copies of cameras.
func (p *planner) sameZone() []*Problem {
	var zones []string // in the order of the cameras
	names := make(map[string][]string)
	for _, c := range p.cameras {
		zone := c.pair[first].Zone
		if zone == "" || zone != c.pair[second].Zone {
			continue
		}
		if names[zone] == nil {
			zones = append(zones, zone)
		}
		names[zone] = append(names[zone], c.Name)
	}
	var all []*Problem
	for _, zone := range zones {
		in := names[zone]
		all = append(all, &Problem{Camera: in[0], Message: fmt.Sprintf(
			"both copies of %s (%s) are in zone %s, and what takes the zone takes both: add a redundant recorder in another zone, or capacity there, or give recorders by hand",
			count(len(in)), list(in, "and"), zone)})
	}
	return all
}

func count(cameras int) string {
	if cameras == 1 {
		return "1 camera"
	}
	return fmt.Sprintf("%d cameras", cameras)
}

// list joins the first few of a list.
func list(all []string, and string) string {
	const shown = 4
	if more := len(all) - shown; more > 0 {
		all = append(slices.Clone(all[:shown]), fmt.Sprintf("%d more", more))
	}
	if len(all) < 2 {
		return strings.Join(all, "")
	}
	last := len(all) - 1
	return strings.Join(all[:last], ", ") + " " + and + " " + all[last]
}

// rate prints bit/s.
func rate(v int64) string {
	units := []string{"bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"}
	f, i := float64(v), 0
	for f >= 1000 && i < len(units)-1 {
		f /= 1000
		i++
	}
	return strconv.FormatFloat(math.Round(f*100)/100, 'f', -1, 64) + " " + units[i]
}
