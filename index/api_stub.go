package index

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

var errSoon = errors.New("not built yet")

// Options say where an index lives.
type Options struct {
	// FS is the file system; nil is the machine's.
	FS vfs.FS
	// Dir is the directory of the database, made when missing.
	Dir string
	Log zerolog.Logger
	// CacheBytes bounds the block cache; 0 means 64 MiB.
	CacheBytes int64
	// MustExist makes a missing database ErrCorrupt instead of an empty index: set it
	// when there is media that the index should know.
	MustExist bool
}

// Store is a recorder's index. All methods may be called concurrently.
type Store struct{}

// Init is an init header (ftyp and moov) of a camera.
type Init struct {
	Camera string
	Hash   media.Hash
	Data   []byte
}

// Content is what one media file holds.
type Content struct {
	Refs  []Ref
	Inits []Init
}

// Camera sums up what the index holds of a camera.
type Camera struct {
	Name string
	// Position is the durable position: one past the newest record, by epoch and
	// offset, that was ever committed. It stays when the media is deleted.
	Position record.Position
	// StartNS is the start of the oldest fragment and EndNS the end of the newest one
	// that is held; 0 when none is. Unix ns.
	StartNS, EndNS int64
	Bytes          int64
	Fragments      int64
}

// Segment sums up what the index holds of a media file.
type Segment struct {
	Camera, Path string
	// StartNS is the earliest start and EndNS the latest end of its fragments, Unix ns.
	StartNS, EndNS int64
	// Bytes are those of the fragments, moof and mdat, without what stands between.
	Bytes     int64
	Fragments int64
}

// EpochInfo sums up what the index holds of an epoch.
type EpochInfo struct {
	Epoch          record.Epoch
	StartNS, EndNS int64
	Since          media.Cause
	SinceNS        int64
}

// Open opens the index, or makes an empty one.
func Open(o Options) (*Store, error) { return nil, errSoon }

// Rebuild makes the index anew from what the media files hold and opens it in the
// place of the old one, which it removes. The sequence may be in any order.
func Rebuild(ctx context.Context, o Options, files iter.Seq2[Content, error]) (*Store, error) {
	return nil, errSoon
}

// Close ends the store. It waits for calls that are under way. Idempotent.
func (s *Store) Close() error { return errSoon }

// Failed is closed when the disk has failed the store; Err then says why. Every call
// answers ErrFailed from then on.
func (s *Store) Failed() <-chan struct{} { return nil }

// Err returns why the store failed, wrapping ErrFailed; nil while it works.
func (s *Store) Err() error { return errSoon }

// Commit adds fragments and the init headers that they need in one batch, durably:
// when it returns nil all of it survives a power cut, and never a part of it.
//
// A fragment that is there already is left alone. Of two with the same epoch and
// first offset the larger End wins, then the one that is not Truncated, then the one
// with the greater Segment and At. An init header must be known, or be in the same
// batch, unless its hash is zero; pass it with every batch, it is written once. An
// error that wraps ErrInvalid leaves the store usable, any other one has failed it.
func (s *Store) Commit(refs []Ref, inits []Init) error { return errSoon }

// Fragments yields the fragments of a camera whose [MinNS, MaxNS) overlaps [startNS,
// endNS), in the order of Compare. It holds no lock and no iterator while the caller
// works; a change made meanwhile is seen or not. After an error it ends.
func (s *Store) Fragments(camera string, startNS, endNS int64) iter.Seq2[Ref, error] {
	return func(yield func(Ref, error) bool) { yield(Ref{}, errSoon) }
}

// Lookup returns one fragment by its start time and key, or ErrNotFound.
func (s *Store) Lookup(camera string, startNS int64, key Key) (Ref, error) { return Ref{}, errSoon }

// Init returns an init header, or ErrNotFound. The caller owns the slice.
func (s *Store) Init(camera string, hash media.Hash) ([]byte, error) { return nil, errSoon }

// Spans returns the spans of a camera that overlap [startNS, endNS), whole, sorted by
// start time, epoch, first offset.
func (s *Store) Spans(camera string, startNS, endNS int64) ([]Span, error) { return nil, errSoon }

// Epochs returns the epochs of which a camera's footage is held, sorted.
func (s *Store) Epochs(camera string) ([]EpochInfo, error) { return nil, errSoon }

// Position returns the durable position of a camera, from memory; zero when nothing
// was ever committed.
func (s *Store) Position(camera string) record.Position { return record.Position{} }

// Camera returns what is held of one camera, from memory.
func (s *Store) Camera(name string) (Camera, bool) { return Camera{}, false }

// Cameras returns what is held of every camera, by name, from memory.
func (s *Store) Cameras() []Camera { return nil }

// Segments yields the media files of a camera, sorted by path: oldest first, since
// paths begin with date and time. Those marked for deletion are not among them.
func (s *Store) Segments(camera string) iter.Seq2[Segment, error] {
	return func(yield func(Segment, error) bool) { yield(Segment{}, errSoon) }
}

// DeleteSegment is the first of three steps: it takes a media file with all its
// fragments out of the index and marks it for deletion, durably. Then the caller
// unlinks the file, then DropSegment forgets the mark. ErrNotFound when the index does
// not know the file.
func (s *Store) DeleteSegment(camera, path string) (Segment, error) { return Segment{}, errSoon }

// Deleting returns the media files that are marked for deletion: at start, unlink
// each and call DropSegment. Such a file must not be adopted: Commit refuses it.
func (s *Store) Deleting() ([]Segment, error) { return nil, errSoon }

// DropSegment forgets the mark of a media file that is gone. Idempotent.
func (s *Store) DropSegment(camera, path string) error { return errSoon }

// DeleteFragments takes fragments out of the index, durably, in one batch, and leaves
// their files alone. Those that it does not hold at that place are skipped.
func (s *Store) DeleteFragments(refs []Ref) error { return errSoon }

// Dump writes everything that media alone determines, as text, in one canonical form:
// two stores of the same media have the same dump.
func (s *Store) Dump(w io.Writer) error { return errSoon }
