package recorder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"github.com/duet-video/duet/index"
)

// DataReport is what VerifyData found in a data directory.
type DataReport struct {
	Recorder string `json:"recorder"`
	Level    string `json:"level"`
	// Segments are the files that were read, Bytes their length.
	Segments int64 `json:"files"`
	Bytes    int64 `json:"bytes"`
	// Fragments is how many the files hold and the index names, together: Equal +
	// Mismatch + NotIndexed + Missing.
	Fragments int64 `json:"fragments"`
	// Equal: the bytes hash to what the index says.
	Equal int64 `json:"equal"`
	// Mismatch: they hash to something else than the index, or the box before them, says.
	Mismatch int64 `json:"mismatch"`
	// NotIndexed: whole, and unknown to the index. A recorder adopts those at the end of
	// open segments when it starts.
	NotIndexed int64 `json:"not_indexed"`
	// Missing: the index names it, and the file does not hold it.
	Missing int64 `json:"missing"`
	// Torn are bytes at the ends of files that are no whole fragment: writes that were
	// cut off. A recorder removes them when it starts.
	Torn int64 `json:"torn_bytes"`
	// Damaged are fragments that a recorder found damaged before, that are not served,
	// and that no whole copy has replaced yet. They are not among Fragments.
	Damaged int64 `json:"damaged"`
	// Total is the media that the index names, in bytes.
	Total int64 `json:"total_bytes"`
	// Bad names the first fragments and files that are not as they should be, at most
	// maxBad.
	Bad []BadFragment `json:"bad"`
}

// BadFragment is a place in a file that is not as it should be. Time and what follows are
// empty where it is not known what was there.
type BadFragment struct {
	What string `json:"what"`
	// Do is what to do about it.
	Do     string    `json:"do"`
	File   string    `json:"file"`
	Offset int64     `json:"offset"`
	Camera string    `json:"camera,omitempty"`
	Time   time.Time `json:"time,omitzero"`
	Epoch  string    `json:"epoch,omitempty"`
	First  uint64    `json:"first_offset,omitempty"`
}

func (b *BadFragment) String() string {
	s := fmt.Sprintf("%s at byte %d", b.File, b.Offset)
	if !b.Time.IsZero() {
		s += fmt.Sprintf(", camera %s, %s", b.Camera, b.Time.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	return s + ": " + b.What + "; " + b.Do
}

// What to do about what is found. A recorder does it all by itself, once it runs.
const (
	doAdopt = "the recorder adopts it when it runs: its newest files at the start, others when it checks all that is stored"
	doCut   = "the recorder cuts it off when it starts: the write was never acknowledged"
	doMend  = "start the recorder: it takes the fragment out, and copies it from another recorder that holds it"
	doWait  = "it is replaced when another recorder that holds it can be reached"
	doSkip  = "nothing: players and the recorder skip it"
)

// maxBad bounds DataReport.Bad.
const maxBad = 1000

// The levels of a verification.
const (
	// LevelPresent: the file of each fragment that the index names is there.
	LevelPresent = "present"
	// LevelSize: it is long enough, and the box of the fragment is where it should be.
	LevelSize = "size"
	// LevelHash: all bytes are what they were.
	LevelHash = "hash"
)

// OK reports that nothing is damaged or lost.
func (r *DataReport) OK() bool { return r.Mismatch == 0 && r.Missing == 0 && r.Damaged == 0 }

func (r *DataReport) problem(file string, at int64, ref *index.Ref, do, format string, args ...any) {
	if len(r.Bad) == maxBad {
		return
	}
	b := BadFragment{What: fmt.Sprintf(format, args...), Do: do, File: file, Offset: at}
	if p, ok := parseSegmentPath(file); ok {
		b.Camera = p.camera
	}
	if ref != nil {
		b.Camera, b.Time = ref.Camera, time.Unix(0, ref.StartNS).UTC()
		b.Epoch, b.First = ref.Epoch.String(), ref.First
	}
	r.Bad = append(r.Bad, b)
}

// VerifyData compares what is in the data directory of a recorder that does not run with
// its index, to one of the levels. It changes nothing but what opening the index does.
// progress, which may be nil, is called after each file. The error is for a directory
// that cannot be verified; what is wrong inside is in the report.
func VerifyData(ctx context.Context, fsys vfs.FS, dir, level string, progress func(*DataReport)) (report *DataReport, err error) {
	if level != LevelPresent && level != LevelSize && level != LevelHash {
		return nil, fmt.Errorf("level %q is not one of %s, %s, %s", level, LevelPresent, LevelSize, LevelHash)
	}
	id, err := readIdentity(fsys, fsys.PathJoin(dir, metaDir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not the data directory of a recorder: it has no %s/%s", dir, metaDir, identityFile)
	}
	if err != nil {
		return nil, err
	}
	lock, err := fsys.Lock(fsys.PathJoin(dir, metaDir, lockFile))
	if err != nil {
		return nil, fmt.Errorf("%s is in use: stop recorder %s, or verify the running site instead: %w", dir, id.Recorder, err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	store, err := index.Open(index.Options{FS: fsys, Dir: fsys.PathJoin(dir, metaDir, indexDir), MustExist: true, Log: zerolog.Nop()})
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	v := &verifier{archive: archive{fs: fsys, dir: dir}, store: store, found: map[int64]bool{}}
	v.report.Recorder, v.report.Level, v.report.Bad = id.Recorder, level, []BadFragment{}
	for _, c := range store.Cameras() {
		v.report.Total += c.Bytes
	}
	for _, d := range store.Damaged("", math.MinInt64, math.MaxInt64) {
		v.report.Damaged++
		v.report.problem(d.Segment, d.At, &d.Ref, doWait, "found damaged at %s and not served since: %s", time.Unix(0, d.FoundNS).UTC().Format(time.RFC3339), d.Why)
	}
	files, err := v.all()
	if err != nil {
		return nil, err
	}
	if level != LevelHash {
		return &v.report, v.quick(ctx, level, files, progress)
	}
	for _, c := range store.Cameras() {
		if _, ok := files[c.Name]; !ok {
			files[c.Name] = nil
		}
	}
	for _, camera := range slices.Sorted(maps.Keys(files)) {
		if err := v.camera(ctx, camera, files[camera], progress); err != nil {
			return nil, err
		}
	}
	return &v.report, nil
}
