package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/go-playground/validator/v10"
)

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// reserved names would clash with files beside those of nodes (see package pki).
const reservedNode = "ca"

// check adds everything that is wrong with c to r.
func (c *Config) check(r *report) {
	// A section that could not be read has been complained about; do not add that it
	// is empty.
	c.checkFields(r)
	c.checkNames(r)
	c.checkCameras(r)
	c.checkRecorders(r)
	c.checkTimes(r)
	c.checkQuotas(r)
	c.checkPorts(r)
}

// checkFields applies the validate tags.
func (c *Config) checkFields(r *report) {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(func(f reflect.StructField) string { return f.Tag.Get("yaml") })
	for tag, ok := range map[string]func(string) bool{
		"name":    nameForm.MatchString,
		"address": func(s string) bool { return Address(s).check() == nil },
	} {
		// Errors come from an empty tag or a nil function only.
		_ = v.RegisterValidation(tag, func(f validator.FieldLevel) bool { return ok(f.Field().String()) })
	}
	var found validator.ValidationErrors
	if err := v.Struct(c); !errors.As(err, &found) {
		return
	}
	bad := make(map[string]bool, len(r.problems))
	for _, p := range r.problems {
		bad[p.Field] = true
	}
	for _, f := range found {
		_, path, _ := strings.Cut(f.Namespace(), ".")
		if !bad[path] {
			r.add(c.nearest(path), 0, path, "%s", explain(f))
		}
	}
}

func explain(f validator.FieldError) string {
	have := quote(fmt.Sprint(f.Value()))
	switch f.Tag() {
	case "required":
		if f.Kind() == reflect.Slice {
			return "missing: a site needs at least one"
		}
		return "missing"
	case "name":
		return have + " is not a name: letters, digits, . _ -, at most 63, not beginning with . _ or -"
	case "oneof":
		choices := strings.Fields(f.Param())
		return have + " is not one of " + strings.Join(choices, ", ") + suggest(fmt.Sprint(f.Value()), choices)
	case "address":
		a, _ := f.Value().(Address)
		return fmt.Sprintf("%v, have %s", a.check(), have)
	case "min":
		if f.Kind() == reflect.Slice {
			return fmt.Sprintf("a site needs at least %s", f.Param())
		}
		return "is less than " + f.Param()
	case "max":
		if f.Kind() == reflect.Slice {
			return "more than " + f.Param()
		}
		return "is more than " + f.Param()
	}
	return "does not satisfy " + f.Tag()
}

// nearest returns where the key is, or the item or section that lacks it.
func (c *Config) nearest(path string) mark {
	for path != "" {
		if m, ok := c.marks[path]; ok {
			return m
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return mark{}
}

// each calls f for every item of a section that has a name.
func each[T any](section string, all []T, name func(*T) string, f func(path, name string)) {
	for i := range all {
		if n := name(&all[i]); n != "" {
			f(fmt.Sprintf("%s[%d]", section, i), n)
		}
	}
}

func (c *Config) eachNode(f func(path, name string)) {
	each("proxies", c.Proxies, func(p *Proxy) string { return p.Name }, f)
	each("recorders", c.Recorders, func(p *Recorder) string { return p.Name }, f)
	each("playback", c.Playback, func(p *Playback) string { return p.Name }, f)
}

func (c *Config) eachCamera(f func(path, name string)) {
	each("cameras", c.Cameras, func(p *Camera) string { return p.Name }, f)
}

func (c *Config) itemMarks(section, name string) map[string]mark {
	found := make(map[string]mark, 1)
	visit := func(path, n string) {
		if n == name && strings.HasPrefix(path, section+"[") {
			found[path] = c.marks[path]
		}
	}
	c.eachCamera(visit)
	c.eachNode(visit)
	return found
}

func (c *Config) checkNames(r *report) {
	unique := func(what string, visit func(func(path, name string))) {
		first := make(map[string]string)
		visit(func(path, name string) {
			key := strings.ToLower(name) // file systems and DNS do not all tell cases apart
			if other, ok := first[key]; ok {
				r.add(c.nearest(path+".name"), 0, path+".name", "%s %q is also the name of %s in line %d",
					what, name, other, c.nearest(other+".name").line)
				return
			}
			first[key] = path
		})
	}
	unique("camera", c.eachCamera)
	unique("node", c.eachNode)
	c.eachNode(func(path, name string) {
		if strings.EqualFold(name, reservedNode) {
			r.add(c.nearest(path+".name"), 0, path+".name", "%q is the name of the site's certificate authority", name)
		}
	})
	first := make(map[string]int)
	for i, u := range c.Readers {
		path := fmt.Sprintf("readers[%d].user", i)
		if j, ok := first[u.User]; ok && u.User != "" {
			r.add(c.nearest(path), 0, path, "%s is also the user of readers[%d]", quote(u.User), j)
			continue
		}
		first[u.User] = i
	}
}

func (c *Config) checkCameras(r *report) {
	var recorders, proxies []string
	for i := range c.Recorders {
		recorders = append(recorders, c.Recorders[i].Name)
	}
	for i := range c.Proxies {
		proxies = append(proxies, c.Proxies[i].Name)
	}
	for i := range c.Cameras {
		cam := &c.Cameras[i]
		key := func(k string) string { return fmt.Sprintf("cameras[%d].%s", i, k) }
		if s := string(cam.Source); s != "" && !hasVariable(s) {
			if err := cam.Source.check(); err != nil {
				r.add(c.nearest(key("source")), 0, key("source"), "%v", err)
			}
		}
		for k, name := range map[string]string{"primary": cam.Primary, "redundant": cam.Redundant} {
			if name != "" && c.FindRecorder(name) == nil {
				r.add(c.nearest(key(k)), 0, key(k), "there is no recorder %s%s", quote(name), suggest(name, recorders))
			}
		}
		if cam.Primary != "" && cam.Primary == cam.Redundant {
			r.add(c.nearest(key("redundant")), 0, key("redundant"),
				"both copies of camera %s would go to recorder %s: one fault would take both", cam.Name, cam.Primary)
		}
		switch {
		case cam.Proxy == "" && len(c.Proxies) > 1:
			r.add(c.nearest(fmt.Sprintf("cameras[%d]", i)), 0, key("proxy"), "missing: there are %d proxies, say which one pulls the camera", len(c.Proxies))
		case cam.Proxy != "" && c.FindProxy(cam.Proxy) == nil:
			r.add(c.nearest(key("proxy")), 0, key("proxy"), "there is no proxy %s%s", quote(cam.Proxy), suggest(cam.Proxy, proxies))
		}
	}
}

func (c *Config) checkRecorders(r *report) {
	have := map[string]bool{}
	for i := range c.Recorders {
		have[c.Recorders[i].Role] = true
	}
	for _, role := range []string{"primary", "redundant"} {
		other := map[string]string{"primary": "redundant", "redundant": "primary"}[role]
		if have[other] && !have[role] && len(have) == 1 { // a third one is a misspelt role
			r.add(c.nearest("recorders"), 0, "recorders", "none has role %s: every camera needs two copies", role)
		}
	}
	for i := range c.Recorders {
		for j := range i + 1 {
			if sameHost(hostOf(c.Recorders[j].HTTP), hostOf(c.Recorders[i].HTTP)) {
				c.checkDisks(r, j, i)
			}
		}
	}
}

// checkQuotas reports a quota that is less than one segment of a camera whose bit rate is
// given: an open segment is never deleted, so it could not be kept.
func (c *Config) checkQuotas(r *report) {
	for i := range c.Recorders {
		c.checkQuota(r, fmt.Sprintf("recorders[%d].quota", i), c.Recorders[i].Quota)
		for j := range c.Recorders[i].Data {
			if len(c.Recorders[i].Data) == 1 {
				break // it has the recorder's
			}
			c.checkQuota(r, fmt.Sprintf("recorders[%d].data[%d].quota", i, j), c.Recorders[i].Data[j].Quota)
		}
	}
}

func (c *Config) checkQuota(r *report, path string, quota Bytes) {
	for i := range c.Cameras {
		cam := &c.Cameras[i]
		segment := Bytes(float64(cam.Bitrate) / 8 * time.Duration(c.Segment.Duration).Seconds())
		if quota > 0 && segment > quota {
			r.add(c.nearest(path), 0, path, "%s is less than one segment of camera %s, %s (%s at %s): raise it, or make segment.duration shorter",
				quota, cam.Name, segment, c.Segment.Duration, cam.Bitrate)
			return
		}
	}
}

// checkDisks reports directories of two recorders of a machine, or of one, that are not
// apart.
func (c *Config) checkDisks(r *report, first, second int) {
	a, b := &c.Recorders[first], &c.Recorders[second]
	for i, disk := range b.Data {
		for j, other := range a.Data {
			if first == second && j >= i || disk.Path == "" || other.Path == "" {
				continue
			}
			if within(other.Path, disk.Path) || within(disk.Path, other.Path) {
				path := fmt.Sprintf("recorders[%d].data", second)
				if len(b.Data) > 1 {
					path += fmt.Sprintf("[%d]", i)
				}
				r.add(c.nearest(path), 0, path, "recorder %s has %s on the same machine: each needs a directory of its own", a.Name, other.Path)
			}
		}
	}
}

func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

func (c *Config) checkTimes(r *report) {
	between := func(path string, d Duration, low, high time.Duration) {
		if t := time.Duration(d); t < low || t > high {
			r.add(c.nearest(path), 0, path, "%s is not in %s … %s", d, Duration(low), Duration(high))
		}
	}
	between("link.linger", c.Link.Linger, 0, maxLinger)
	between("fragment.min", c.Fragment.Min, minFragment, maxFragment)
	between("fragment.max", c.Fragment.Max, minFragment, maxFragment)
	between("segment.duration", c.Segment.Duration, time.Second, maxSegmentDuration)
	between("sync.interval", c.Sync.Interval, minSyncInterval, maxSyncInterval)
	if c.Repair.Rate < minRepairRate {
		r.add(c.nearest("repair.rate"), 0, "repair.rate",
			"%s per second is less than 64KiB: nothing would get done; to copy nothing, set order: off", c.Repair.Rate)
	}
	between("scrub.every", c.Scrub.Every, minScrubEvery, maxScrubEvery)
	if c.Scrub.Rate <= 0 {
		r.add(c.nearest("scrub.rate"), 0, "scrub.rate", "%s checks nothing; to have nothing checked, write off: true", c.Scrub.Rate)
	}
	if c.Fragment.Min > c.Fragment.Max {
		r.add(c.nearest("fragment.min"), 0, "fragment.min", "%s is more than fragment.max, %s", c.Fragment.Min, c.Fragment.Max)
	}
	if c.Fragment.Max > c.Segment.Duration {
		r.add(c.nearest("segment.duration"), 0, "segment.duration", "%s is less than fragment.max, %s", c.Segment.Duration, c.Fragment.Max)
	}
	if window := time.Duration(c.Log.Seconds) * time.Second; time.Duration(c.Fragment.Max) > window {
		r.add(c.nearest("fragment.max"), 0, "fragment.max",
			"%s does not fit into log.seconds, %d: the log must hold a whole fragment", c.Fragment.Max, c.Log.Seconds)
	}
	if c.Log.Bytes > c.Log.Total {
		r.add(c.nearest("log.bytes"), 0, "log.bytes", "%s for one camera is more than log.total, %s", c.Log.Bytes, c.Log.Total)
	}
}
