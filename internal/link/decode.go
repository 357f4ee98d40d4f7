package link

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// Limits of the protocol.
const (
	// MaxMessage bounds a message, in bytes.
	MaxMessage = 8 << 20
	// MaxName bounds the name of a camera or recorder, in bytes.
	MaxName = 63

	maxCause  = 64
	maxReason = 1024
)

// ErrCorrupt is wrapped by every error about bytes that break the protocol.
var ErrCorrupt = errors.New("corrupt link message")

type kind uint8

// Kinds below kindOpen go from recorder to proxy, the others from proxy to recorder.
const (
	kindHello       kind = 1
	kindSubscribe   kind = 2
	kindUnsubscribe kind = 3
	kindAck         kind = 4
	kindOpen        kind = 16
	kindBatch       kind = 17
	kindLost        kind = 18
	kindPause       kind = 19
	kindEnd         kind = 20
	kindReject      kind = 21
)

const (
	frameHead    = 12
	positionSize = 24
	batchHead    = 12
)

// direction is the way that a message takes.
type direction uint8

const (
	toProxy direction = iota
	toRecorder
)

func (d direction) allows(k kind) bool {
	if d == toProxy {
		return k >= kindHello && k <= kindAck
	}
	return k >= kindOpen && k <= kindReject
}

// payloadSize bounds the payload of each kind, both ends inclusive.
func payloadSize(k kind) (least, most int) {
	switch k {
	case kindHello:
		return 1, MaxName
	case kindSubscribe:
		return positionSize + 1, positionSize + MaxName
	case kindUnsubscribe:
		return 0, 0
	case kindAck, kindLost, kindPause:
		return positionSize + 8, positionSize + 8
	case kindOpen:
		return positionSize, positionSize
	case kindBatch:
		return batchHead + record.HeaderSize, MaxMessage
	case kindEnd:
		return positionSize, positionSize + maxCause
	case kindReject:
		return 0, maxReason
	}
	return 0, -1
}

// next decodes the first frame of b, which went the way d, and returns what follows it.
// Batch.Records is a view of b; everything else is copied.
func next(b []byte, d direction) (Frame, []byte, error) {
	if len(b) < frameHead {
		return nil, nil, fmt.Errorf("%w: %d bytes are left, a frame's header has %d", ErrCorrupt, len(b), frameHead)
	}
	k := kind(b[0])
	channel := binary.LittleEndian.Uint32(b[4:])
	size := int64(binary.LittleEndian.Uint32(b[8:]))
	if !d.allows(k) || b[1] != 0 || b[2] != 0 || b[3] != 0 {
		return nil, nil, fmt.Errorf("%w: frame begins with % x", ErrCorrupt, b[:4])
	}
	if least, most := payloadSize(k); size < int64(least) || size > int64(most) {
		return nil, nil, fmt.Errorf("%w: payload of frame kind %d has %d bytes, want %d … %d", ErrCorrupt, k, size, least, most)
	}
	if size > int64(len(b)-frameHead) {
		return nil, nil, fmt.Errorf("%w: payload of %d bytes, but %d are left", ErrCorrupt, size, len(b)-frameHead)
	}
	f, err := payload(k, channel, b[frameHead:frameHead+size:frameHead+size])
	if err != nil {
		return nil, nil, err
	}
	return f, b[frameHead+size:], nil
}

// payload decodes p, whose length payloadSize allows for k.
func payload(k kind, channel uint32, p []byte) (Frame, error) {
	switch k {
	case kindHello:
		if channel != 0 {
			return nil, fmt.Errorf("%w: hello on channel %d", ErrCorrupt, channel)
		}
		return Hello{Recorder: string(p)}, nil
	case kindSubscribe:
		return Subscribe{Channel: channel, From: position(p), Camera: string(p[positionSize:])}, nil
	case kindUnsubscribe:
		return Unsubscribe{Channel: channel}, nil
	case kindAck:
		return Ack{Channel: channel, Durable: position(p), EndNS: int64(u64(p[positionSize:]))}, nil
	case kindOpen:
		at := position(p)
		return Open{Channel: channel, Epoch: at.Epoch, Offset: at.Offset}, nil
	case kindBatch:
		return batch(channel, p)
	case kindLost:
		at, to := position(p), u64(p[positionSize:])
		if at.Offset >= to {
			return nil, fmt.Errorf("%w: lost offsets %d … %d", ErrCorrupt, at.Offset, to)
		}
		return Lost{Channel: channel, Epoch: at.Epoch, From: at.Offset, To: to}, nil
	case kindPause:
		at := position(p)
		return Pause{Channel: channel, Epoch: at.Epoch, Offset: at.Offset, CaptureNS: int64(u64(p[positionSize:]))}, nil
	case kindEnd:
		at := position(p)
		return End{Channel: channel, Epoch: at.Epoch, End: at.Offset, Cause: media.Cause(p[positionSize:])}, nil
	case kindReject:
		return Reject{Channel: channel, Reason: string(p)}, nil
	}
	return nil, fmt.Errorf("%w: frame kind %d", ErrCorrupt, k)
}

func batch(channel uint32, p []byte) (Frame, error) {
	b := Batch{Channel: channel, First: u64(p), Count: binary.LittleEndian.Uint32(p[8:]), Records: p[batchHead:]}
	n, err := record.Count(b.Records)
	if err != nil {
		return nil, fmt.Errorf("%w: batch at offset %d: %w", ErrCorrupt, b.First, err)
	}
	if uint32(n) != b.Count {
		return nil, fmt.Errorf("%w: batch at offset %d says %d records and holds %d", ErrCorrupt, b.First, b.Count, n)
	}
	if b.First+uint64(n) < b.First {
		return nil, fmt.Errorf("%w: batch at offset %d overflows", ErrCorrupt, b.First)
	}
	return b, nil
}

func position(p []byte) record.Position {
	var at record.Position
	copy(at.Epoch[:], p)
	at.Offset = u64(p[len(at.Epoch):])
	return at
}

func u64(p []byte) uint64 { return binary.LittleEndian.Uint64(p) }
