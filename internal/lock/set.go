package lock

import (
	"maps"
	"reflect"
	"slices"
)

// Set is what is known of locks, released ones included. The zero value is empty. A Set
// is a value: With returns another one and leaves the receiver as it is, so that a Set
// may be read by several goroutines.
type Set struct {
	byID     map[string]Lock
	byCamera map[string][]Lock // those in force, by start
}

// With returns the union of s and the locks, and whether it says more than s does. The
// locks have been checked (Lock.Check).
func (s Set) With(locks ...Lock) (union Set, grew bool) {
	var next map[string]Lock
	for _, l := range locks {
		old, known := s.byID[l.ID]
		if next != nil {
			old, known = next[l.ID]
		}
		joined := l
		if known {
			joined = join(old, l)
		}
		if known && joined == old {
			continue
		}
		if next == nil {
			next = make(map[string]Lock, len(s.byID)+len(locks))
			maps.Copy(next, s.byID)
		}
		next[l.ID] = joined
	}
	if next == nil {
		return s, false
	}
	union = Set{byID: next, byCamera: map[string][]Lock{}}
	for _, l := range union.All() {
		if l.Active() {
			union.byCamera[l.Camera] = append(union.byCamera[l.Camera], l)
		}
	}
	return union, true
}

// All returns every lock, those that are released too, sorted (Compare).
func (s Set) All() []Lock { return slices.SortedFunc(maps.Values(s.byID), Compare) }

// Active returns the locks of a camera that are in force, by start. It belongs to the set.
func (s Set) Active(camera string) []Lock { return s.byCamera[camera] }

// Cameras returns the cameras that have locks in force, sorted.
func (s Set) Cameras() []string { return slices.Sorted(maps.Keys(s.byCamera)) }

// Get returns a lock by its ID.
func (s Set) Get(id string) (Lock, bool) {
	l, ok := s.byID[id]
	return l, ok
}

// Len returns how many locks there are, released ones included.
func (s Set) Len() int { return len(s.byID) }

// Holds reports whether a lock in force covers an instant of [startNS, endNS) of the camera.
func (s Set) Holds(camera string, startNS, endNS int64) bool {
	for _, l := range s.byCamera[camera] {
		if l.StartNS >= endNS {
			return false
		}
		if l.Overlaps(startNS, endNS) {
			return true
		}
	}
	return false
}

// Same reports whether both are one value; sets that say the same may be two.
func (s Set) Same(o Set) bool {
	return reflect.ValueOf(s.byID).Pointer() == reflect.ValueOf(o.byID).Pointer()
}
