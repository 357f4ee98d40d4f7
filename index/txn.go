package index

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/duet-video/duet/internal/media"
)

// txn gathers one change to the database: it reads the rows that it touches, changes
// them in memory, and writes them in one batch. The holder of Store.writing owns it.
type txn struct {
	s     *Store
	batch *pebble.Batch
	// spans is a batch of its own because a change has to see the spans that it made.
	spans    *pebble.Batch
	cameras  map[string]*change
	key, val []byte
	err      error // the first one of writing to a batch
}

// change is what a txn does to one camera.
type change struct {
	name string
	mem  *camera // what is in memory; nil fields never
	row  cameraRow
	extent
	newestNS int64
	// used are the uses of init headers, and segments the rows, that were touched.
	used     map[media.Hash]int64
	segments map[string]*segmentRow
	// hours are the digests that were touched, by when their hour begins.
	hours map[int64]*Digest
	// horizonNS is a horizon to be written; 0: none.
	horizonNS int64
	removals  uint64
	// run is what is to be added to the spans, or taken from them, before the next
	// change that does not continue it.
	run       Span
	runOut    bool
	remeasure bool               // extent has to be read again
	marked    map[string]Segment // for deletion, by path
	damaged   map[place]*Damage  // marks that are set; nil: that are forgotten
}

type segmentRow struct {
	Segment
	known bool // it has times
}

func (s *Store) begin() *txn {
	return &txn{
		s: s, batch: s.db.NewBatch(), spans: s.db.NewIndexedBatch(), cameras: map[string]*change{},
	}
}

func (t *txn) close() {
	_ = t.spans.Close() // a batch that was given up has no error of interest
	_ = t.batch.Close()
}

// camera returns the change of a camera, which may be new.
func (t *txn) camera(name string) *change {
	c, ok := t.cameras[name]
	if !ok {
		mem := t.s.cameras[name]
		if mem == nil {
			mem = newCamera(cameraRow{})
		}
		c = &change{
			name: name, mem: mem, row: mem.cameraRow, extent: mem.extent, newestNS: mem.newestNS,
			used: map[media.Hash]int64{}, segments: map[string]*segmentRow{}, damaged: map[place]*Damage{},
			hours: map[int64]*Digest{},
		}
		t.cameras[name] = c
	}
	return c
}

// uses returns how many fragments need an init header, and whether it is known.
func (c *change) uses(h media.Hash) (n int64, known bool) {
	if n, known = c.used[h]; known {
		return n, true
	}
	n, known = c.mem.inits[h]
	return n, known
}

// segment returns the row of a media file, which may be new.
func (t *txn) segment(c *change, path string) (*segmentRow, error) {
	if row, ok := c.segments[path]; ok {
		return row, nil
	}
	if _, ok := c.mem.deleting[path]; ok {
		return nil, fmt.Errorf("%w: segment %q is marked for deletion", ErrInvalid, path)
	}
	if c.mem.recent.Path == path {
		row := &segmentRow{Segment: c.mem.recent, known: true}
		c.segments[path] = row
		return row, nil
	}
	row := &segmentRow{Segment: Segment{Camera: c.name, Path: path}}
	t.key = appendPath(t.key[:0], kindSegment, c.name, path)
	value, closer, err := t.s.db.Get(t.key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
	case err != nil:
		return nil, t.s.readErr(err)
	default:
		row.Segment, err = decodeSegment(t.key, value)
		row.known = true
		if err := errors.Join(err, closer.Close()); err != nil {
			return nil, err
		}
	}
	c.segments[path] = row
	return row, nil
}

// commit writes everything in one batch and then changes what is in memory.
func (t *txn) commit() error {
	for _, c := range t.cameras {
		if err := t.flush(c); err != nil {
			return err
		}
		t.rows(c)
	}
	if t.err != nil {
		return t.err
	}
	if err := t.batch.Apply(t.spans, nil); err != nil {
		return err
	}
	if err := t.s.apply(t.batch); err != nil {
		return err
	}
	for name, c := range t.cameras {
		if !c.remeasure {
			continue
		}
		var err error
		if c.extent, err = t.s.measure(name, c.row.span); err != nil {
			t.s.fail(err)
			return t.s.Err()
		}
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	for name, c := range t.cameras {
		c.settle()
		t.s.cameras[name] = c.mem
	}
	return nil
}

// rows writes the rows of a camera, its segments and its init headers.
func (t *txn) rows(c *change) {
	t.key = appendPrefix(t.key[:0], kindCamera, c.name)
	t.put(t.key, func(dst, key []byte) []byte { return appendCamera(dst, key, &c.row) })
	for path, row := range c.segments {
		t.key = appendPath(t.key[:0], kindSegment, c.name, path)
		if marked, ok := c.marked[path]; ok {
			t.delete(t.key)
			t.key = appendPath(t.key[:0], kindDeleting, c.name, path)
			t.put(t.key, func(dst, key []byte) []byte { return appendSegment(dst, key, &marked) })
			continue
		}
		t.put(t.key, func(dst, key []byte) []byte { return appendSegment(dst, key, &row.Segment) })
	}
	t.putDigests(c)
	if c.horizonNS > 0 {
		t.key = appendPrefix(t.key[:0], kindHorizon, c.name)
		t.put(t.key, func(dst, key []byte) []byte { return appendCount(dst, key, c.horizonNS) })
	}
	for hash, n := range c.used {
		t.key = appendHash(t.key[:0], kindUses, c.name, hash)
		if n == 0 && c.mem.inits[hash] > 0 {
			t.delete(t.key)
			t.key = appendHash(t.key[:0], kindInit, c.name, hash)
			t.delete(t.key)
			continue
		}
		t.put(t.key, func(dst, key []byte) []byte { return appendCount(dst, key, n) })
	}
}

// settle makes what is in memory what was written.
func (c *change) settle() {
	c.mem.cameraRow, c.mem.extent, c.mem.newestNS = c.row, c.extent, c.newestNS
	for hash, n := range c.used {
		if n == 0 && c.mem.inits[hash] > 0 {
			delete(c.mem.inits, hash)
			continue
		}
		c.mem.inits[hash] = n
	}
	for at, d := range c.damaged {
		if d == nil {
			delete(c.mem.damaged, at)
			continue
		}
		c.mem.damaged[at] = d
	}
	for hour, d := range c.hours {
		if hour >= c.mem.hour.HourNS {
			c.mem.hour = *d
		}
	}
	c.mem.removals += c.removals
	c.mem.horizonNS = max(c.mem.horizonNS, c.horizonNS)
	for _, row := range c.segments {
		c.mem.recent = row.Segment
	}
	for path, seg := range c.marked {
		c.mem.recent = Segment{}
		c.mem.deleting[path] = seg
	}
}

// put appends a row to the batch.
func (t *txn) put(key []byte, value func(dst, key []byte) []byte) {
	t.val = value(t.val[:0], key)
	if err := t.batch.Set(key, t.val, nil); err != nil && t.err == nil {
		t.err = err
	}
}

func (t *txn) delete(key []byte) {
	if err := t.batch.Delete(key, nil); err != nil && t.err == nil {
		t.err = err
	}
}
