package playback

import (
	"archive/tar"
	"bytes"
	"hash"
	"io"
	"time"
)

const tarBlock = 512

// tarWriter writes a POSIX archive (ustar; pax for files of 8 GiB and more).
type tarWriter struct {
	w    io.Writer
	size int64 // of the file that was begun
}

func newTAR(w io.Writer) archive { return &tarWriter{w: w} }

// begin implements archive.
func (t *tarWriter) begin(name string, size int64, when time.Time) error {
	var head bytes.Buffer // a tar.Writer wants to see what is in the file
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: when.UTC().Truncate(time.Second)}
	if err := tar.NewWriter(&head).WriteHeader(h); err != nil {
		return err
	}
	t.size = size
	_, err := t.w.Write(head.Bytes())
	return err
}

// sum implements archive.
func (t *tarWriter) sum() hash.Hash { return nil }

// end implements archive.
func (t *tarWriter) end(hash.Hash) error {
	_, err := t.w.Write(make([]byte, (tarBlock-t.size%tarBlock)%tarBlock))
	return err
}

// finish implements archive.
func (t *tarWriter) finish() error {
	_, err := t.w.Write(make([]byte, 2*tarBlock))
	return err
}
