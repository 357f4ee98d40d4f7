package nodepb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // what Codec falls back to
	"google.golang.org/grpc/mem"
)

// Chunk is sent in place of a ReadReply (grpc.ServerStream.SendMsg) where the codec is
// Codec: on the wire it is one, but Data is not copied. SendMsg frees Data, also when it fails.
type Chunk struct {
	Data mem.Buffer
	Size uint64 // as in ReadReply
}

// Body receives ReadReplies (grpc.ClientStream.RecvMsg) where the codec is Codec: their
// data are copied once, to the end of Data.
type Body struct {
	// Data grows as append does, and has room for all of it from the start where the sender
	// says how much that is.
	Data []byte
	// Most is how long Data may become.
	Most int
	// Over: there was more. What was over is not in Data.
	Over bool

	size uint64 // that the sender announced
}

// Codec is protobuf that knows Chunk and Body.
func Codec() encoding.CodecV2 { return codec{encoding.GetCodecV2("proto")} }

type codec struct{ encoding.CodecV2 }

// Fields of protobuf: numbers with their wire types.
const (
	typeVarint, typeI64, typeLen, typeI32 = 0, 1, 2, 5

	dataField = 1<<3 | typeLen    // ReadReply.data
	sizeField = 2<<3 | typeVarint // ReadReply.size
)

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*Chunk)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	head := make([]byte, 0, 2+binary.MaxVarintLen64+binary.MaxVarintLen32)
	if m.Size > 0 {
		head = binary.AppendUvarint(append(head, sizeField), m.Size)
	}
	head = binary.AppendUvarint(append(head, dataField), uint64(m.Data.Len()))
	return mem.BufferSlice{mem.SliceBuffer(head), m.Data}, nil
}

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*Body)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	r := data.Reader()
	err := m.add(r)
	return errors.Join(err, r.Close())
}

// add appends the data of a ReadReply.
func (m *Body) add(r *mem.Reader) error {
	for r.Remaining() > 0 {
		tag, err := binary.ReadUvarint(r)
		if err != nil {
			return fmt.Errorf("field of a ReadReply: %w", err)
		}
		n, v := uint64(0), uint64(0)
		switch tag & 7 {
		case typeVarint:
			v, err = binary.ReadUvarint(r)
		case typeI64:
			n = 8
		case typeLen:
			n, err = binary.ReadUvarint(r)
		case typeI32:
			n = 4
		default:
			err = errors.New("its type is not known")
		}
		if err == nil && n > uint64(r.Remaining()) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("field %d of a ReadReply: %w", tag>>3, err)
		}
		if tag == sizeField {
			m.size = v
		}
		if tag != dataField {
			_, _ = r.Discard(int(n)) // there are so many
			continue
		}
		if uint64(len(m.Data))+n > uint64(m.Most) {
			m.Over = true
			return nil
		}
		at := len(m.Data)
		if room := min(m.size, uint64(m.Most)); at == 0 && uint64(cap(m.Data)) < room && n <= room {
			m.Data = make([]byte, 0, room)
		}
		m.Data = slices.Grow(m.Data, int(n))[:at+int(n)]
		if _, err := io.ReadFull(r, m.Data[at:]); err != nil {
			return fmt.Errorf("data of a ReadReply: %w", err)
		}
	}
	return nil
}
