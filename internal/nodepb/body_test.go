package nodepb

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	protobuf "google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// pieces cuts b as the network may.
func pieces(b []byte, size int) mem.BufferSlice {
	var out mem.BufferSlice
	for len(b) > size {
		out = append(out, mem.SliceBuffer(b[:size]))
		b = b[size:]
	}
	return append(out, mem.SliceBuffer(b))
}

func TestAChunkIsAReadReplyOnTheWire(t *testing.T) {
	require.Equal(t, proto.Name, Codec().Name())
	for _, n := range []int{0, 1, 127, 128, 300_000} {
		data := bytes.Repeat([]byte{7}, n)
		b, err := Codec().Marshal(&Chunk{Data: mem.SliceBuffer(data), Size: uint64(2 * n)})
		require.NoError(t, err)
		var reply ReadReply
		require.NoError(t, protobuf.Unmarshal(b.Materialize(), &reply))
		require.True(t, bytes.Equal(data, reply.GetData()))
		require.EqualValues(t, 2*n, reply.GetSize())
		if n > 0 {
			require.Same(t, &data[0], &b[len(b)-1].ReadOnlyData()[0], "it was copied")
		}
	}
}

func TestABodyIsWhatReadRepliesHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := []byte{}
		body := Body{Most: 1 << 20}
		for _, data := range rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 500), 0, 5).Draw(t, "replies") {
			want = append(want, data...)
			b, err := protobuf.Marshal(&ReadReply{Data: data})
			require.NoError(t, err)
			require.NoError(t, Codec().Unmarshal(pieces(b, rapid.IntRange(1, 600).Draw(t, "piece")), &body))
		}
		require.True(t, bytes.Equal(want, body.Data))
		require.False(t, body.Over)
	})
}

func TestABodyTakesNoMoreThanItMay(t *testing.T) {
	b, err := protobuf.Marshal(&ReadReply{Data: make([]byte, 100)})
	require.NoError(t, err)
	body := Body{Most: 199}
	require.NoError(t, Codec().Unmarshal(pieces(b, 16), &body))
	require.False(t, body.Over)
	require.NoError(t, Codec().Unmarshal(pieces(b, 16), &body))
	require.True(t, body.Over)
	require.Len(t, body.Data, 100)
}

func TestABodyThatHasRoomIsReceivedIntoIt(t *testing.T) {
	b, err := protobuf.Marshal(&ReadReply{Data: make([]byte, 100_000)})
	require.NoError(t, err)
	room := make([]byte, 0, 200_000)
	body := Body{Data: room, Most: 200_000}
	for range 2 {
		require.NoError(t, Codec().Unmarshal(pieces(b, 16<<10), &body))
	}
	require.Same(t, &room[:1][0], &body.Data[0])
}

func TestABodyHasRoomForWhatIsAnnounced(t *testing.T) {
	for size, want := range map[uint64]int{0: 0, 10: 0, 5000: 5000, 1 << 62: 9000} {
		b, err := Codec().Marshal(&Chunk{Data: mem.SliceBuffer(make([]byte, 100)), Size: size})
		require.NoError(t, err)
		body := Body{Most: 9000}
		require.NoError(t, Codec().Unmarshal(b, &body))
		require.Len(t, body.Data, 100)
		if want > 0 {
			require.Equal(t, want, cap(body.Data))
		}
	}
}

func TestOtherMessagesAreProtobuf(t *testing.T) {
	want := &ReadRequest{Camera: "gate", First: 7, Unhashed: true}
	b, err := Codec().Marshal(want)
	require.NoError(t, err)
	var got ReadRequest
	require.NoError(t, Codec().Unmarshal(b, &got))
	require.True(t, protobuf.Equal(want, &got))
}

// What comes is taken as protobuf takes it: the one thing that differs is that data which
// are there twice follow each other, and that groups are refused.
func FuzzBody(f *testing.F) {
	good, err := protobuf.Marshal(&ReadReply{Data: []byte("some bytes")})
	require.NoError(f, err)
	f.Add(good, 3)
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, 1)
	f.Add([]byte{0x12, 1, 0, 0x18, 200, 1, 0x25, 1, 2, 3, 4, 0x29, 1, 2, 3, 4, 5, 6, 7, 8, 0x0a, 1, 9}, 2)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		body := Body{Most: 1 << 20}
		err := Codec().Unmarshal(pieces(b, max(size, 1)), &body)
		var reply ReadReply
		if protobuf.Unmarshal(b, &reply) != nil || err != nil {
			return
		}
		require.True(t, bytes.HasSuffix(body.Data, reply.GetData()))
	})
}
