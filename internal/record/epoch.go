package record

import (
	"bytes"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Epoch names one unbroken camera session at one proxy. It is unique for ever, and
// epochs sort by the time at which they began: 48 bits of Unix milliseconds, big
// endian, then 80 random bits.
type Epoch [16]byte

// EpochTextLen is the length of the text form of an Epoch.
const EpochTextLen = 26

var epochEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// NewEpoch returns the epoch of a session that begins at now, taking 10 bytes from random.
func NewEpoch(now time.Time, random io.Reader) (Epoch, error) {
	var e Epoch
	binary.BigEndian.PutUint64(e[:8], uint64(now.UnixMilli())<<16)
	if _, err := io.ReadFull(random, e[6:]); err != nil {
		return Epoch{}, fmt.Errorf("make an epoch: %w", err)
	}
	return e, nil
}

// Time returns the instant, to the millisecond, at which the epoch began.
func (e Epoch) Time() time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(e[:8]) >> 16)).UTC()
}

// String returns the text form: 26 characters of 0-9 and a-v, which sort like the epochs.
func (e Epoch) String() string { return epochEncoding.EncodeToString(e[:]) }

// IsZero reports whether e is the zero Epoch, which names no session.
func (e Epoch) IsZero() bool { return e == Epoch{} }

// Compare orders epochs by the time at which they began: -1, 0 or 1.
func (e Epoch) Compare(o Epoch) int { return bytes.Compare(e[:], o[:]) }

// ParseEpoch reads the text form that String writes.
func ParseEpoch(s string) (Epoch, error) {
	var e Epoch
	if len(s) != EpochTextLen {
		return e, fmt.Errorf("epoch %q: want %d characters, have %d", s, EpochTextLen, len(s))
	}
	b, err := epochEncoding.DecodeString(s)
	if err != nil || len(b) != len(e) {
		return e, fmt.Errorf("epoch %q: want characters 0-9 and a-v", s)
	}
	copy(e[:], b)
	if e.String() != s {
		return Epoch{}, fmt.Errorf("epoch %q: not in canonical form", s)
	}
	return e, nil
}

// Position is a place in a camera's log: the record Offset of Epoch. As "durable
// position" or "resume position" it names the first record that is not covered yet.
type Position struct {
	Epoch  Epoch
	Offset uint64
}

// IsZero reports whether p names no place: nothing was recorded yet.
func (p Position) IsZero() bool { return p == Position{} }

// Compare orders positions by epoch, then by offset: -1, 0 or 1.
func (p Position) Compare(o Position) int {
	if c := p.Epoch.Compare(o.Epoch); c != 0 {
		return c
	}
	switch {
	case p.Offset < o.Offset:
		return -1
	case p.Offset > o.Offset:
		return 1
	}
	return 0
}

func (p Position) String() string { return fmt.Sprintf("%s+%d", p.Epoch, p.Offset) }
