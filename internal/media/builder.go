package media

import (
	"errors"

	"github.com/duet-video/duet/internal/record"
)

// Builder turns the records of one camera into fragments, one after the other:
//
//	Begin, Push (the cut), Push …, Finish, then Begin again.
//
// It keeps its buffers between fragments and nothing else. Not for concurrent use.
type Builder struct {
	camera string
}

// NewBuilder returns a Builder for the fragments of a camera, by name.
func NewBuilder(camera string) *Builder { return &Builder{camera: camera} }

// Begin starts a new fragment of epoch. The next Push must be a record with the Cut
// flag, at offset. What was pushed and not finished before is dropped.
func (b *Builder) Begin(epoch record.Epoch, offset uint64) {}

// Push adds the record at offset, which must be Next. The slices of r are only read
// during the call. An error means that the records do not form a fragment (an offset
// that does not follow, a cut in the middle, a description that cannot be read): the
// caller has to go on at another cut. Packets that are lost, or make no sense, are no
// error: they are left out and Info.Flags tells.
func (b *Builder) Push(offset uint64, r *record.Record) error { return errors.New("todo") }

// Finish ends the fragment. cut is the record at which the next fragment starts, at
// offset Next; only its CaptureNS and Flags are read. It is nil when there is none:
// the epoch ended (closed), or its end was never seen (not closed: the fragment is
// flagged Truncated). It fails only where no record was pushed.
func (b *Builder) Finish(cut *record.Record, closed bool) (*Fragment, error) {
	return nil, errors.New("todo")
}

// Size returns the bytes of media that the unfinished fragment holds.
func (b *Builder) Size() int { return 0 }

// Empty reports whether no record was pushed since Begin.
func (b *Builder) Empty() bool { return true }

// Next returns the offset that the next Push has to have.
func (b *Builder) Next() uint64 { return 0 }
