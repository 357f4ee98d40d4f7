package playback

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func verifyOptions(fakes ...*fakeRecorder) VerifyOptions {
	o := VerifyOptions{Start: time.Unix(0, clipStart), End: time.Unix(0, frameNS(clipFrames))}
	for _, f := range fakes {
		o.Recorders = append(o.Recorders, Node{Name: f.name, Address: f.addr})
	}
	o.Cameras = []Camera{{Name: "gate", Primary: "r1", Redundant: "r2"}}
	return o
}

func TestVerifyComparesFilesIndexesAndCopies(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	for i, x := range f.frags {
		y := x
		switch i {
		case 3:
			y.data = bytes.Clone(x.data) // rotten on r2
			y.data[100] ^= 1
		case 5:
			y.data = nil // unreadable on r2
		case 7:
			y.ref.Hash[0] ^= 1 // the indexes disagree, and so does r2's file
		case 9:
			r1.add("gate", nil, x) // only r1
			continue
		case 11:
			r2.add("gate", nil, x) // only r2
			continue
		case 13:
			y = f.frags[14] // another fragment's bytes, truncated
			y.ref.Epoch, y.ref.First, y.ref.StartNS, y.ref.EndNS = x.ref.Epoch, x.ref.First, x.ref.StartNS, x.ref.EndNS
			y.ref.MinNS, y.ref.MaxNS, y.ref.End = x.ref.MinNS, x.ref.MaxNS, x.ref.End-1
		}
		r1.add("gate", nil, x)
		r2.add("gate", nil, y)
	}
	o := verifyOptions(r1, r2)
	calls := 0
	o.Progress = func(VerifyCamera) { calls++ }
	got, err := VerifySite(context.Background(), o)
	require.NoError(t, err)
	require.Len(t, got, 1)
	v := got[0]
	require.Empty(t, v.Missing)
	require.EqualValues(t, 40, v.Fragments)
	require.EqualValues(t, 34, v.Equal)
	require.EqualValues(t, 3, v.OnlyOne, "9, 11, and 13, whose other copy is shorter")
	require.EqualValues(t, 2, v.Mismatch, "3 and 7")
	require.EqualValues(t, 1, v.Unreadable)
	require.Len(t, v.Problems, 3)
	require.Contains(t, v.Problems[0].String(), "on r2 the file hashes to")
	require.Contains(t, v.Problems[0].String(), fmt.Sprintf("(r2 /data/r2/gate/1.mp4 at byte %d, r1 /data/r1/gate/1.mp4 at byte", v.Problems[0].First),
		"the bad copy is named first, with its file")
	require.Equal(t, []bool{true, false}, []bool{v.Problems[1].Copies[0].Bad, v.Problems[1].Copies[1].Bad})
	require.True(t, v.Done)
	require.Positive(t, calls)
}

func TestVerifyNamesRecordersThatDoNotAnswer(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r1, r2)
	r2.kill()
	got, err := VerifySite(context.Background(), verifyOptions(r1, r2))
	require.NoError(t, err)
	require.Contains(t, got[0].Missing, "r2")
	require.EqualValues(t, 40, got[0].OnlyOne)
}

func TestVerifyRefusesAnInvertedRange(t *testing.T) {
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	o := verifyOptions(r1, r2)
	o.Start, o.End = o.End, o.Start
	_, err := VerifySite(context.Background(), o)
	require.ErrorContains(t, err, "end must be after start")
}
