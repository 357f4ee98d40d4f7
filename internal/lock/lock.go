package lock

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Lock protects the footage of a camera in [StartNS, EndNS), Unix ns.
type Lock struct {
	// ID is unique among all recorders for ever: 26 letters and digits.
	ID     string
	Camera string
	// StartNS and EndNS are capture times. StartNS < EndNS.
	StartNS, EndNS int64
	// Reason is what whoever placed it said; By names them, and may be empty.
	Reason, By string
	// CreatedNS is when it was placed.
	CreatedNS int64
	// ReleasedNS is when it was released; 0 while it is in force.
	ReleasedNS int64
	ReleasedBy string
}

// The bounds of what people write.
const (
	MaxReason = 1000 // bytes
	MaxBy     = 100
)

var (
	idForm   = regexp.MustCompile(`^[A-Za-z0-9]{10,40}$`)
	nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
)

// Active reports whether the lock is in force.
func (l *Lock) Active() bool { return l.ReleasedNS == 0 }

// Overlaps reports whether [startNS, endNS) has an instant that the lock covers.
func (l *Lock) Overlaps(startNS, endNS int64) bool { return l.StartNS < endNS && startNS < l.EndNS }

// Check returns what is wrong with the lock, from wherever it comes.
func (l *Lock) Check() error {
	switch {
	case !idForm.MatchString(l.ID):
		return fmt.Errorf("lock ID %q is not one", l.ID)
	case !nameForm.MatchString(l.Camera):
		return fmt.Errorf("lock %s: camera %q is not a name", l.ID, l.Camera)
	case l.StartNS >= l.EndNS:
		return fmt.Errorf("lock %s: it ends at %s, which is not after its start, %s", l.ID, stamp(l.EndNS), stamp(l.StartNS))
	case l.CreatedNS <= 0 || l.ReleasedNS < 0:
		return fmt.Errorf("lock %s: placed at %d, released at %d", l.ID, l.CreatedNS, l.ReleasedNS)
	}
	if err := CheckText("reason", l.Reason, MaxReason); err != nil {
		return fmt.Errorf("lock %s: %w", l.ID, err)
	}
	for _, by := range []string{l.By, l.ReleasedBy} {
		if by == "" {
			continue
		}
		if err := CheckText("by", by, MaxBy); err != nil {
			return fmt.Errorf("lock %s: %w", l.ID, err)
		}
	}
	return nil
}

// CheckText returns what is wrong with something that people wrote: it is empty, longer
// than limit bytes, not UTF-8, or has control characters.
func CheckText(what, text string, limit int) error {
	switch {
	case strings.TrimSpace(text) == "":
		return errors.New(what + " is empty")
	case len(text) > limit:
		return fmt.Errorf("%s has %d bytes, the most are %d", what, len(text), limit)
	case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return errors.New(what + " has control characters, or is not UTF-8")
	}
	return nil
}

// join is the least lock that says what both say, which have the same ID. They differ
// by the mark of a release; should they differ by more (one of them was damaged, and
// passed as sound), the join protects what either protects, and is the same in any order.
func join(a, b Lock) Lock {
	out := a
	if b.Camera > a.Camera {
		out.Camera = b.Camera
	}
	out.StartNS, out.EndNS = min(a.StartNS, b.StartNS), max(a.EndNS, b.EndNS)
	out.Reason, out.By = max(a.Reason, b.Reason), max(a.By, b.By)
	out.CreatedNS = min(a.CreatedNS, b.CreatedNS)
	switch {
	case a.ReleasedNS == 0 && b.ReleasedNS == 0:
	case a.ReleasedNS == 0:
		out.ReleasedNS, out.ReleasedBy = b.ReleasedNS, b.ReleasedBy
	case b.ReleasedNS == 0:
	case b.ReleasedNS < a.ReleasedNS || b.ReleasedNS == a.ReleasedNS && b.ReleasedBy < a.ReleasedBy:
		out.ReleasedNS, out.ReleasedBy = b.ReleasedNS, b.ReleasedBy
	}
	return out
}

// Compare orders locks by camera, start and ID.
func Compare(a, b Lock) int {
	return cmp.Or(cmp.Compare(a.Camera, b.Camera), cmp.Compare(a.StartNS, b.StartNS), cmp.Compare(a.ID, b.ID))
}

func stamp(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }
