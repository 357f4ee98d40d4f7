package sim

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/record"
)

// copyKey names a recorder's copy of a camera.
type copyKey struct{ camera, recorder string }

// observations are what was seen of the site while it ran, and what was done to it.
type observations struct {
	mu sync.Mutex
	// acked is the highest offset of each epoch that a copy acknowledged.
	acked map[copyKey]map[record.Epoch]uint64
	// lost are the copies that the proxy's log had nothing for any more, at some time:
	// it said so, or they were away (since when) for about as long as its window.
	lost map[copyKey]bool
	away map[copyKey]time.Time
	// trouble is when something was last done to a node or camera, first when it first was.
	trouble, first map[string]time.Time
	// wiped are recorders that have lost a disk. spoiled is what was damaged on disks, and
	// the files in which; damagedAt is when, last.
	wiped        map[string]bool
	spoiled      map[copyKey]coverage
	spoiledFiles map[string]bool
	damagedAt    time.Time
	// expired is what retention has deleted with reason, horizon how far that came (Unix ns).
	expired map[copyKey]coverage
	horizon map[copyKey]int64
	// locked are cameras that have, or had, locks; evidence are these.
	locked   map[string]bool
	evidence []*evidence
	// crowded is since when a disk has had more than its quota.
	crowded map[string]time.Time
	// checking are recorders of which a disk is to be checked soon.
	checking map[string]bool
	checked  map[*mount]int
	faults   []error
}

func (o *observations) init() {
	o.acked = map[copyKey]map[record.Epoch]uint64{}
	o.away = map[copyKey]time.Time{}
	o.lost, o.wiped, o.locked, o.spoiledFiles = map[copyKey]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	o.spoiled, o.expired, o.horizon = map[copyKey]coverage{}, map[copyKey]coverage{}, map[copyKey]int64{}
	o.first = map[string]time.Time{}
	o.trouble, o.crowded, o.checking = map[string]time.Time{}, map[string]time.Time{}, map[string]bool{}
	o.checked = map[*mount]int{}
}

func (o *observations) fault(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.faults = append(o.faults, err)
}

func (o *observations) isWiped(recorder string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.wiped[recorder]
}

func fileKey(recorder string, disk int, path string) string {
	return recorder + dataDir(disk) + "/" + path
}

func (o *observations) isSpoiled(recorder string, disk int, path string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.spoiledFiles[fileKey(recorder, disk, path)]
}

// anyTrouble reports whether anything was ever done to one of the nodes. With mu held.
func (o *observations) anyTrouble(nodes []string) bool {
	return slices.ContainsFunc(nodes, func(n string) bool { return !o.trouble[n].IsZero() })
}

// note notes that a line does something to the nodes that it names.
func (o *observations) note(words []string) {
	if slices.Contains([]string{"copies", "lock", "look", "export", "watch", "start", "timeline"}, words[0]) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range words[1:] {
		name, _, _ := strings.Cut(w, "/")
		o.trouble[name] = time.Now()
		if o.first[name].IsZero() {
			o.first[name] = time.Now()
		}
	}
}

// observe looks at the site, every second, until ctx is done.
func (s *Site) observe(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for n := 0; ; n++ {
		select {
		case <-t.C:
			s.acknowledged()
			if s.opts.Quota > 0 && n%4 == 0 {
				s.checkQuota()
			}
		case <-ctx.Done():
			return
		}
	}
}

// acknowledged returns what the recorders have acknowledged so far, by copy and epoch.
func (s *Site) acknowledged() map[copyKey]map[record.Epoch]uint64 {
	o := &s.seen
	o.mu.Lock()
	defer o.mu.Unlock()
	if p := s.nodes[proxyHost].running(); p != nil && p.proxy != nil {
		for _, c := range p.proxy.Status().GetCameras() {
			if c.GetLogBytes() > 2*logBytes {
				o.faults = append(o.faults, boundsHold.broken("the log of %s has %d bytes, its bound is %d", c.GetCamera(), c.GetLogBytes(), logBytes))
			}
			for _, k := range c.GetCopies() {
				s.acknowledgedBy(c, k)
			}
		}
	}
	out := make(map[copyKey]map[record.Epoch]uint64, len(o.acked))
	for k, m := range o.acked {
		out[k] = make(map[record.Epoch]uint64, len(m))
		for e, n := range m {
			out[k][e] = n
		}
	}
	return out
}

// behindMost is how old a recorder's newest durable footage may be while nothing has ever
// been done to it: a fragment, a commit, and what that takes.
const behindMost = 6 * time.Second

// acknowledgedBy takes down what one copy has acknowledged. With the observations' mu held.
func (s *Site) acknowledgedBy(c *nodepb.ProxyCamera, k *nodepb.ProxyCopy) {
	o := &s.seen
	key := copyKey{c.GetCamera(), k.GetRecorder()}
	switch {
	case k.GetConnected():
		delete(o.away, key)
	case o.away[key].IsZero():
		o.away[key] = time.Now()
	}
	if k.GetOffsetsLost() > 0 || !k.GetConnected() && time.Since(o.away[key]) > logWindow-5*time.Second {
		o.lost[key] = true
	}
	if at := k.GetDurable(); len(at.GetEpoch()) == len(record.Epoch{}) && at.GetOffset() > 0 {
		if o.acked[key] == nil {
			o.acked[key] = map[record.Epoch]uint64{}
		}
		e := record.Epoch(at.GetEpoch())
		o.acked[key][e] = max(o.acked[key][e], at.GetOffset())
	}
	if untouched := !o.anyTrouble([]string{key.recorder, proxyHost}); untouched && !s.spare(slices.Index(s.cameras, s.camera(key.camera)), key.recorder) && time.Since(s.start) > 2*behindMost &&
		s.camera(key.camera).sentFor() > behindMost {
		if behind := time.Since(time.Unix(0, k.GetDurableEndNs())); behind > behindMost {
			o.faults = append(o.faults, faultsStayApart.broken("%s, to which nothing was done, is %v behind with %s", key.recorder, behind, key.camera))
		}
	}
}
