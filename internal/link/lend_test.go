package link

import (
	"bytes"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/record"
)

// lentRecord spoils its memory when it gets it back.
type lentRecord struct {
	b        []byte
	returned *atomic.Int64
	times    atomic.Int64
}

func (l *lentRecord) Return() {
	for i := range l.b {
		l.b[i] = 0xdb
	}
	l.times.Add(1)
	l.returned.Add(1)
}

// TestLentMemoryComesBackOnceAndNotBeforeItHasLeft sends memory that is spoilt as soon as it
// is given back, to somebody who reads it late.
func TestLentMemoryComesBackOnceAndNotBeforeItHasLeft(t *testing.T) {
	const messages, batches = 40, 30
	var returned atomic.Int64
	var lent []*lentRecord
	records := func(n int) []byte {
		size := []int{10, 900, 1100, 5000, 60_000}[n%5]
		return record.Append(nil, &record.Record{Packet: bytes.Repeat([]byte{byte(n)}, size)})
	}
	sent := make(chan error, 1)
	conn := serve(t, func(s *ServerStream) error {
		if _, err := s.Recv(); err != nil {
			return err
		}
		for i := range messages {
			var m Message
			for j := range batches {
				n := i*batches + j
				l := &lentRecord{b: records(n), returned: &returned}
				lent = append(lent, l)
				m.Add(Batch{Channel: 1, First: uint64(n), Count: 1, Records: l.b, Lender: l})
			}
			if err := s.Send(&m); err != nil {
				return err
			}
		}
		sent <- nil
		<-s.Context().Done()
		return nil
	})
	s, err := NewClient(conn).Subscribe(t.Context(), "r1")
	require.NoError(t, err)
	defer s.Close()
	for n := range messages * batches {
		f, err := s.Recv()
		require.NoError(t, err)
		b, ok := f.(Batch)
		require.True(t, ok)
		require.Equal(t, uint64(n), b.First)
		require.True(t, bytes.Equal(records(n), b.Records), "record %d", n)
		require.Nil(t, b.Lender)
	}
	require.NoError(t, <-sent)
	require.Eventually(t, func() bool { return returned.Load() == messages*batches }, 10*time.Second, time.Millisecond)
	for _, l := range lent {
		require.Equal(t, int64(1), l.times.Load())
	}
}

func TestLentMemoryOfAMessageThatCannotBeSentStaysAsItIs(t *testing.T) {
	var returned atomic.Int64
	l := &lentRecord{b: make([]byte, MaxMessage), returned: &returned}
	var m Message
	m.Add(Batch{Records: l.b, Lender: l})
	_, err := m.buffers()
	require.Error(t, err)
	require.Zero(t, returned.Load())
}
