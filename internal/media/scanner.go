package media

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

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
	// ItemQuarantined: a fragment that was found damaged and taken out, see
	// QuarantineHeader. To be skipped.
	ItemQuarantined
)

// Item is one part of a segment file. Items follow each other without a hole, from the
// start of the file to its end.
type Item struct {
	Kind ItemKind
	// At and Len are where it is in the file, in bytes.
	At, Len int64
	// Init is the init header, of an ItemInit.
	Init []byte
	// Info describes the fragment, of an ItemFragment, and of an ItemQuarantined where
	// Known: its box is whole. The box of a fragment is at At, moof and mdat
	// are the last Info.Size of the Len bytes.
	Info  Info
	Known bool
	// BadHash: moof and mdat were read and do not have the hash that Info names. Only
	// for an ItemFragment of a Scanner that verifies.
	BadHash bool
}

// Limits of what a Scanner reads at once.
const (
	maxInit   = 1 << 20
	scanChunk = 1 << 18
)

// Scanner walks a segment file from its start to its end. Not for concurrent use.
type Scanner struct {
	r      io.ReaderAt
	at     int64
	size   int64
	verify bool
	done   bool
	buf    []byte
	box    [boxMax]byte
}

// NewScanner returns a Scanner of the first size bytes of r. With verify it reads every
// byte and checks the hash of each fragment; without, only headers and boxes.
func NewScanner(r io.ReaderAt, size int64, verify bool) *Scanner {
	return &Scanner{r: r, size: size, verify: verify}
}

// Skip goes on at an offset. Where that is none at which a fragment begins, the next item
// is an ItemDamage up to there.
func (s *Scanner) Skip(at int64) {
	if at > s.at {
		s.at = at
	}
}

// Next returns the next part, and io.EOF after the last one. Other errors are those of
// the reader: what the file holds never is one.
func (s *Scanner) Next() (Item, error) {
	if s.done || s.at >= s.size {
		return Item{}, io.EOF
	}
	var it Item
	var ok bool
	var err error
	if s.at == 0 {
		it, ok, err = s.init()
		if err != nil {
			return Item{}, fmt.Errorf("read the header of a segment: %w", err)
		}
	}
	if !ok {
		if it, ok, err = s.fragment(s.at); err != nil {
			return Item{}, fmt.Errorf("read a segment at %d: %w", s.at, err)
		}
	}
	if !ok {
		if it, ok, err = s.quarantined(s.at); err != nil {
			return Item{}, fmt.Errorf("read a segment at %d: %w", s.at, err)
		}
	}
	if !ok {
		if it, err = s.damage(); err != nil {
			return Item{}, fmt.Errorf("read a segment at %d: %w", s.at, err)
		}
		s.done = it.Kind == ItemTail
	}
	s.at = it.At + it.Len
	return it, nil
}

// read reads n bytes at an offset; fewer where the file ends.
func (s *Scanner) read(b []byte, at int64) ([]byte, error) {
	if at >= s.size {
		return nil, nil
	}
	b = b[:min(int64(len(b)), s.size-at)]
	n, err := s.r.ReadAt(b, at)
	if n == len(b) || errors.Is(err, io.EOF) {
		return b[:n], nil
	}
	return nil, err
}

// header reads the header of the box at an offset. Not ok: it is not whole.
func (s *Scanner) header(at int64) (typ string, size int64, ok bool, err error) {
	var h [boxHeader]byte
	b, err := s.read(h[:], at)
	if err != nil || len(b) < boxHeader {
		return "", 0, false, err
	}
	size = int64(binary.BigEndian.Uint32(b))
	return string(b[4:8]), size, size >= boxHeader && size <= s.size-at, nil
}

// init reads ftyp and moov at the start of the file.
func (s *Scanner) init() (Item, bool, error) {
	typ, ftyp, ok, err := s.header(0)
	if err != nil || !ok || typ != "ftyp" || ftyp > maxInit {
		return Item{}, false, err
	}
	typ, moov, ok, err := s.header(ftyp)
	if err != nil || !ok || typ != "moov" || moov > maxInit {
		return Item{}, false, err
	}
	b, err := s.read(make([]byte, ftyp+moov), 0)
	if err != nil || int64(len(b)) < ftyp+moov {
		return Item{}, false, err
	}
	return Item{Kind: ItemInit, Len: ftyp + moov, Init: b}, true, nil
}

// fragment reads the fragment whose box is at an offset. Not ok: there is none, or it
// is not whole.
func (s *Scanner) fragment(at int64) (Item, bool, error) {
	b, err := s.read(s.box[:], at)
	if err != nil {
		return Item{}, false, err
	}
	info, n, err := ParseBox(b)
	if err != nil || info.Size > s.size-at-int64(n) {
		return Item{}, false, nil //nolint:nilerr // it is damage, which damage() tells
	}
	start := at + int64(n)
	typ, moof, ok, err := s.header(start)
	if err != nil || !ok || typ != "moof" {
		return Item{}, false, err
	}
	typ, mdat, ok, err := s.header(start + moof)
	if err != nil || !ok || typ != "mdat" || moof+mdat != info.Size {
		return Item{}, false, err
	}
	it := Item{Kind: ItemFragment, At: at, Len: int64(n) + info.Size, Info: info}
	if s.verify {
		h := sha256.New()
		for pos := start; pos < start+info.Size; {
			b, err := s.read(s.chunk(min(scanChunk, start+info.Size-pos)), pos)
			if err != nil {
				return Item{}, false, err
			}
			if len(b) == 0 {
				return Item{}, false, nil // the file became shorter
			}
			h.Write(b)
			pos += int64(len(b))
		}
		it.BadHash = Hash(h.Sum(nil)) != info.Hash
	}
	return it, true, nil
}

// chunk returns n bytes to read into, or as many as the file has.
func (s *Scanner) chunk(n int64) []byte {
	if s.buf == nil {
		s.buf = make([]byte, min(scanChunk, s.size))
	}
	return s.buf[:min(n, int64(len(s.buf)))]
}

// damage looks for the next whole fragment: what is before it is damage, and without
// one it is the tail.
func (s *Scanner) damage() (Item, error) {
	const mark = boxUUID
	from := s.at + 1
	for {
		b, err := s.read(s.chunk(scanChunk), from)
		if err != nil {
			return Item{}, err
		}
		if len(b) < boxMin {
			return Item{Kind: ItemTail, At: s.at, Len: s.size - s.at}, nil
		}
		i := bytes.Index(b[8:], []byte(mark))
		if i < 0 {
			from += int64(len(b) - len(mark) - 7)
			continue
		}
		_, ok, err := s.fragment(from + int64(i))
		if err == nil && !ok {
			_, ok, err = s.quarantined(from + int64(i))
		}
		if err != nil {
			return Item{}, err
		}
		if ok {
			return Item{Kind: ItemDamage, At: s.at, Len: from + int64(i) - s.at}, nil
		}
		from += int64(i) + 1
	}
}
