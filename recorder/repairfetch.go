package recorder

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/record"
)

const (
	// askLimit bounds one question to another recorder, readStall how long it may take
	// for the next part of an answer.
	askLimit  = 10 * time.Second
	readStall = 10 * time.Second
)

// errWrongBytes is wrapped where another recorder sends what it did not announce.
var errWrongBytes = errors.New("what came is not what was announced")

// digestsOf asks a recorder for the digests of a camera.
func digestsOf(ctx context.Context, c nodepb.RecorderClient, camera string, fromNS, toNS int64) ([]index.Digest, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	reply, err := c.Digests(ctx, &nodepb.FragmentsRequest{Camera: camera, StartNs: fromNS, EndNs: toNS})
	if err != nil {
		return nil, err
	}
	out := make([]index.Digest, 0, len(reply.GetDigests()))
	for _, d := range reply.GetDigests() {
		x := index.Digest{HourNS: d.GetHourNs(), Fragments: d.GetFragments(), Bytes: d.GetBytes()}
		if n := copy(x.Sum[:], d.GetSum()); n != len(x.Sum) || x.HourNS != index.HourOf(x.HourNS) {
			return nil, fmt.Errorf("digest of camera %s, hour %d: %w", camera, x.HourNS, errWrongBytes)
		}
		out = append(out, x)
	}
	return out, nil
}

// listOf asks a recorder for the fragments of a camera that overlap [fromNS, toNS).
func listOf(ctx context.Context, c nodepb.RecorderClient, camera string, fromNS, toNS int64) ([]index.Ref, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	stream, err := c.Fragments(ctx, &nodepb.FragmentsRequest{Camera: camera, StartNs: fromNS, EndNs: toNS})
	if err != nil {
		return nil, err
	}
	var out []index.Ref
	for {
		reply, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		for _, f := range reply.GetFragments() {
			ref, err := refOf(camera, f)
			if err == nil && len(out) > 0 && index.Compare(&out[len(out)-1], &ref) >= 0 {
				err = fmt.Errorf("fragments of camera %s are not in order: %w", camera, errWrongBytes)
			}
			if err != nil {
				return nil, err
			}
			out = append(out, ref)
		}
	}
}

// refOf is the fragment that another recorder names, without a place.
func refOf(camera string, f *nodepb.Fragment) (index.Ref, error) {
	r := index.Ref{Info: media.Info{
		Camera: camera, First: f.GetFirst(), End: f.GetEnd(), StartNS: f.GetStartNs(), EndNS: f.GetEndNs(),
		MinNS: f.GetMinNs(), MaxNS: f.GetMaxNs(), WindowNS: f.GetWindowNs(), Flags: media.InfoFlags(f.GetFlags()),
		Size: f.GetSize(), Since: media.Cause(f.GetSince()), SinceNS: f.GetSinceNs(),
	}}
	switch {
	case len(f.GetEpoch()) != len(record.Epoch{}), len(f.GetHash()) != len(media.Hash{}), len(f.GetInitHash()) != len(media.Hash{}):
	case r.First >= r.End, r.StartNS >= r.EndNS, r.MinNS > r.StartNS, r.MaxNS <= r.MinNS, len(r.Since) > 255:
	case r.Size < 16, r.Size > 2*maxFragment:
	default:
		r.Epoch, r.Hash, r.InitHash = record.Epoch(f.GetEpoch()), media.Hash(f.GetHash()), media.Hash(f.GetInitHash())
		return r, nil
	}
	return r, fmt.Errorf("fragment %d … %d of camera %s: %w", r.First, r.End, camera, errWrongBytes)
}

// fetchInit asks a recorder for an init header.
func fetchInit(ctx context.Context, c nodepb.RecorderClient, info *media.Info) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	reply, err := c.Init(ctx, &nodepb.InitRequest{Camera: info.Camera, Hash: info.InitHash[:]})
	if err != nil {
		return nil, err
	}
	if hashOf(reply.GetData()) != info.InitHash {
		return nil, fmt.Errorf("init header of camera %s: %w", info.Camera, errWrongBytes)
	}
	return reply.GetData(), nil
}

// fetch copies moof and mdat of a fragment from a recorder. More than was announced is
// not taken, and what has another hash is not returned.
func fetch(ctx context.Context, c nodepb.RecorderClient, info *media.Info, p *pace) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stall := time.AfterFunc(readStall, cancel)
	defer stall.Stop()
	stream, err := c.Read(ctx, &nodepb.ReadRequest{
		Camera: info.Camera, Epoch: info.Epoch[:], First: info.First, StartNs: info.StartNS, Hash: info.Hash[:],
	}, grpc.MaxCallRecvMsgSize(4<<20))
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, info.Size)
	for {
		reply, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		b := reply.GetData()
		if int64(len(out)+len(b)) > info.Size {
			return nil, fmt.Errorf("fragment %d of camera %s has more than %d bytes: %w", info.First, info.Camera, info.Size, errWrongBytes)
		}
		out = append(out, b...)
		stall.Stop()
		if !p.take(ctx, len(b)) {
			return nil, context.Cause(ctx)
		}
		stall.Reset(readStall)
	}
	if hashOf(out) != info.Hash || !isFragment(out) {
		return nil, fmt.Errorf("fragment %d of camera %s: %w", info.First, info.Camera, errWrongBytes)
	}
	return out, nil
}

// isFragment reports whether b is one moof and one mdat, as a segment file has to have
// them for a scan to find them.
func isFragment(b []byte) bool {
	if len(b) < 8 || !bytes.Equal(b[4:8], []byte("moof")) {
		return false
	}
	moof := int64(binary.BigEndian.Uint32(b))
	if moof < 8 || moof > int64(len(b))-8 {
		return false
	}
	mdat := b[moof:]
	return bytes.Equal(mdat[4:8], []byte("mdat")) && int64(binary.BigEndian.Uint32(mdat)) == int64(len(mdat))
}

// fragmentFrom is what goes to the disk of a fragment that was fetched.
func fragmentFrom(info media.Info, init, data []byte) *media.Fragment {
	info.Flags |= media.Repaired
	return &media.Fragment{Info: info, Init: init, Box: media.AppendBox(nil, &info), Moof: data}
}
