package flame

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxProfile bounds a profile that is unpacked, in bytes.
const maxProfile = 64 << 20

// Node is a function, as it was called on one path.
type Node struct {
	Name string
	// Total counts what was sampled in it and below, Self in itself; in the unit of the
	// profile's last value (of processor profiles: nanoseconds).
	Total, Self int64
	Children    []*Node // the largest first
}

// Parse reads a profile as /debug/pprof/profile gives it. The root stands for the process.
func Parse(data []byte) (*Node, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("unpack the profile: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(z, maxProfile))
	if err != nil {
		return nil, fmt.Errorf("unpack the profile: %w", err)
	}
	var p profile
	if err := p.read(raw); err != nil {
		return nil, fmt.Errorf("read the profile: %w", err)
	}
	return p.tree(), nil
}

// profile is as much of profile.proto (github.com/google/pprof) as is needed here.
type profile struct {
	samples   []sample
	locations map[uint64][]uint64 // functions, the innermost first
	functions map[uint64]int64    // index of the name
	strings   []string
}

type sample struct {
	locations []uint64 // the innermost first
	value     int64
}

var errProfile = errors.New("not a profile")

func (p *profile) read(b []byte) error {
	p.locations, p.functions = map[uint64][]uint64{}, map[uint64]int64{}
	return fields(b, func(n protowire.Number, v uint64, b []byte) error {
		switch n {
		case 2:
			return p.sample(b)
		case 4:
			return p.location(b)
		case 5:
			return p.function(b)
		case 6:
			p.strings = append(p.strings, string(b))
		}
		return nil
	})
}

func (p *profile) sample(b []byte) error {
	var s sample
	err := fields(b, func(n protowire.Number, v uint64, b []byte) error {
		list := []uint64{v}
		if b != nil {
			list = list[:0]
			for len(b) > 0 {
				x, size := protowire.ConsumeVarint(b)
				if size < 0 {
					return errProfile
				}
				list, b = append(list, x), b[size:]
			}
		}
		switch {
		case n == 1:
			s.locations = append(s.locations, list...)
		case n == 2 && len(list) > 0:
			s.value = int64(list[len(list)-1])
		}
		return nil
	})
	p.samples = append(p.samples, s)
	return err
}

func (p *profile) location(b []byte) error {
	var id uint64
	var functions []uint64
	err := fields(b, func(n protowire.Number, v uint64, b []byte) error {
		switch n {
		case 1:
			id = v
		case 4:
			return fields(b, func(n protowire.Number, v uint64, _ []byte) error {
				if n == 1 {
					functions = append(functions, v)
				}
				return nil
			})
		}
		return nil
	})
	p.locations[id] = functions
	return err
}

func (p *profile) function(b []byte) error {
	var id uint64
	var name int64
	err := fields(b, func(n protowire.Number, v uint64, _ []byte) error {
		switch n {
		case 1:
			id = v
		case 2:
			name = int64(v)
		}
		return nil
	})
	p.functions[id] = name
	return err
}

// fields calls f for each field of a message: v of numbers, b of what has a length.
func fields(b []byte, f func(n protowire.Number, v uint64, b []byte) error) error {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return errProfile
		}
		b = b[size:]
		var v uint64
		var inner []byte
		switch kind {
		case protowire.VarintType:
			v, size = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			inner, size = protowire.ConsumeBytes(b)
			if inner == nil {
				inner = []byte{}
			}
		default:
			size = protowire.ConsumeFieldValue(n, kind, b)
		}
		if size < 0 {
			return errProfile
		}
		b = b[size:]
		if err := f(n, v, inner); err != nil {
			return err
		}
	}
	return nil
}

func (p *profile) name(function uint64) string {
	if i := p.functions[function]; i > 0 && i < int64(len(p.strings)) {
		return p.strings[i]
	}
	return "?"
}
