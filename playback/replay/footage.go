package replay

import (
	"context"
	"errors"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// Fragment is a stored fragment. See media.Info for what the times are.
type Fragment struct {
	Epoch          record.Epoch
	First, End     uint64
	StartNS, EndNS int64
	MinNS, MaxNS   int64
	WindowNS       int64
	// FromNS: access units before it are part of another fragment that is played; 0: none.
	FromNS       int64
	Size         int64
	Hash, Init   media.Hash
	RandomAccess bool
	// Holders and InitHolders say who has it. They are the Footage's own.
	Holders, InitHolders uint64
}

// follows reports whether f begins with the record after the last one of e.
func (f *Fragment) follows(e *Fragment) bool { return f.Epoch == e.Epoch && f.First == e.End }

// Stretch is a span of capture time, Unix ns, end exclusive.
type Stretch struct{ StartNS, EndNS int64 }

// After says which footage was played last, so that a listing goes on behind it.
type After struct {
	Epoch   record.Epoch
	End     uint64 // offset
	CoverNS int64  // up to where footage was played
}

// Listing is what there is of a camera in a range.
type Listing struct {
	// Fragments are in the order in which they are played forward. Those before the range
	// are there because what is first in it cannot be decoded without them.
	Fragments []Fragment
	// Unknown are the stretches of which those who answered have nothing, while others did
	// not answer.
	Unknown []Stretch
}

// Footage is where recordings come from. Safe for concurrent use.
type Footage interface {
	// Knows reports whether there is such a camera.
	Knows(camera string) bool
	// List returns the fragments that overlap [fromNS, toNS). after may be nil.
	List(ctx context.Context, camera string, fromNS, toNS int64, after *After) (Listing, error)
	// Next returns the start of the first footage that ends after ns, and Previous the end
	// of the last one that starts before ns. ErrNone: there is none.
	Next(ctx context.Context, camera string, ns int64) (int64, error)
	Previous(ctx context.Context, camera string, ns int64) (int64, error)
	// Read returns moof and mdat of a fragment, verified, from whoever delivers them; it
	// waits for one who does. ErrNone: all were asked, and nobody has it any more. The
	// caller may keep and modify what it gets.
	Read(ctx context.Context, camera string, f *Fragment) ([]byte, error)
	// Header returns the init header of a fragment, verified. It must not be modified.
	Header(ctx context.Context, camera string, f *Fragment) ([]byte, error)
}

// ErrNone says that nobody has such footage.
var ErrNone = errors.New("no footage")

// ErrUnknown says that those who answered have none, and others did not answer.
var ErrUnknown = errors.New("it is not known whether there is footage")
