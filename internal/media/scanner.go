package media

import "io"

// ItemKind says what a Scanner found.
type ItemKind uint8

const (
	// ItemInit: the init header at the start of the file.
	ItemInit ItemKind = iota
	// ItemFragment: a whole fragment, its box included.
	ItemFragment
	// ItemDamage: bytes in the middle of the file that are no whole fragment. Whole
	// ones follow.
	ItemDamage
	// ItemTail: bytes at the end of the file that are no whole fragment: what a write
	// that was cut off left. Always the last item. Cut the file off at At.
	ItemTail
)

// Item is one part of a segment file. Items follow each other without a hole, from the
// start of the file to its end.
type Item struct {
	Kind ItemKind
	// At and Len are where it is in the file, in bytes.
	At, Len int64
	// Init is the init header, of an ItemInit.
	Init []byte
	// Info describes the fragment, of an ItemFragment. Its box is at At, moof and mdat
	// are the last Info.Size of the Len bytes.
	Info Info
	// BadHash: moof and mdat were read and do not have the hash that Info names. Only
	// for an ItemFragment of a Scanner that verifies.
	BadHash bool
}

// Scanner walks a segment file from its start to its end. Not for concurrent use.
type Scanner struct{}

// NewScanner returns a Scanner of the first size bytes of r. With verify it reads every
// byte and checks the hash of each fragment; without, only headers and boxes.
func NewScanner(r io.ReaderAt, size int64, verify bool) *Scanner { return &Scanner{} }

// Next returns the next part, and io.EOF after the last one. Other errors are those of
// the reader: what the file holds never is one.
func (s *Scanner) Next() (Item, error) { return Item{}, io.EOF }
