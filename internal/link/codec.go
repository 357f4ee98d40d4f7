package link

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // what Codec falls back to
	"google.golang.org/grpc/mem"
)

// codec moves messages of the link as raw bytes, without a copy on sending and with one
// on receiving, and leaves every other message to protobuf. A server with the link and
// other services on it is created with this codec (ServerOptions).
type codec struct{ other encoding.CodecV2 }

func newCodec() codec { return codec{other: encoding.GetCodecV2("proto")} }

// received is a message as it arrived, in one piece; b is used again.
type received struct{ b []byte }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(*Message); ok {
		return m.buffers()
	}
	return c.other.Marshal(v)
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(*received); ok {
		// The parts belong to gRPC and go back to its pool.
		m.b = m.b[:0]
		for _, part := range data {
			m.b = append(m.b, part.ReadOnlyData()...)
		}
		return nil
	}
	return c.other.Unmarshal(data, v)
}

func (codec) Name() string { return "duet-link" }
