package recorder

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/duet-video/duet/index"
)

// adoptFile says, in a data directory, that its index does not name all that there is.
const adoptFile = "adopting.json"

// adoptMark is what it says.
type adoptMark struct {
	// Partial are files of which the index may name a part: the ends of the newest ones.
	// Any other file it names wholly, or not at all.
	Partial []string `json:"partial"`
	// left: a file was left out.
	left bool
}

// readMark returns the mark of a data directory; false: there is none. With one that is
// damaged, the index is worth nothing: index.ErrCorrupt.
func readMark(a archive) (m adoptMark, marked bool, err error) {
	b, err := readFile(a.fs, a.fs.PathJoin(a.dir, metaDir, adoptFile), 64<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err != nil {
		return m, false, fmt.Errorf("read %s: %w", adoptFile, err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, false, fmt.Errorf("read %s: %w: %w", adoptFile, index.ErrCorrupt, err)
	}
	return m, true, nil
}

// writeMark makes it durable.
func writeMark(a archive, m adoptMark) error {
	b, err := json.Marshal(m)
	if err == nil {
		err = replaceBy(a.fs, bytes.NewReader(append(b, '\n')), a.fs.PathJoin(a.dir, metaDir, adoptFile))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", adoptFile, err)
	}
	return nil
}

func removeMark(a archive) error {
	name := a.fs.PathJoin(a.dir, metaDir, adoptFile)
	if err := a.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", adoptFile, err)
	}
	return syncDir(a.fs, a.fs.PathDir(name))
}
