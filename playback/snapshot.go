package playback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/jpeg"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
)

const (
	snapshotBytes = 48 << 20
	// keyBack is how far back a key frame is looked for, in steps.
	keyBack = 10 * time.Minute
	// keyFragments is how many fragments are read in search of a key frame.
	keyFragments = 16
	// minWidth and maxWidth bound the width of a picture.
	minWidth, maxWidth = 16, 4096
	// snapshotWait is how long a request waits for its turn, and snapshotFor how long
	// ffmpeg may take.
	snapshotWait = 5 * time.Second
	snapshotFor  = 10 * time.Second
	// decodersAtOnce is how many run beside each other.
	decodersAtOnce = 2
)

// keyFrame is a key frame of a camera, with what it takes to decode it.
type keyFrame struct {
	captureNS int64
	fragment  media.Hash
	sample    int
	init      *media.Init
	header    []byte
	// picture is the sample as a fragment of its own; jpeg the picture itself, of MJPEG.
	picture []byte
	jpeg    []byte
}

// jpegKey names a picture.
type jpegKey struct {
	fragment media.Hash
	sample   int
	width    int
}

// snapshotJPEG is a JPEG and when it was captured.
type snapshotJPEG struct {
	captureNS int64
	tag       string
	data      []byte
}

// keyFrameAt finds the key frame at or before a time, no further back than keyBack. Nil: there is none. covered:
// only where there is footage at that time.
func (s *Service) keyFrameAt(ctx context.Context, camera string, ns int64, covered bool) (*keyFrame, []silence, error) {
	for back := lookBackNS; ; back = min(back*8, int64(keyBack)) {
		refs, silent, err := s.refsBefore(ctx, camera, ns, back)
		if err != nil {
			return nil, nil, err
		}
		if n := len(refs); covered && (n == 0 || refs[n-1].endNS <= ns) {
			return nil, silent, nil
		}
		k, err := s.lastKey(ctx, camera, refs, ns)
		if k != nil || err != nil || back == int64(keyBack) || covered && len(refs) == 0 {
			return k, silent, err
		}
	}
}

// foundRef is a fragment that may have a key frame.
type foundRef struct {
	want
	endNS    int64
	windowNS int64
	init     media.Hash
}

// refsBefore lists the fragments that start in (ns-back, ns], in order.
func (s *Service) refsBefore(ctx context.Context, camera string, ns, back int64) ([]foundRef, []silence, error) {
	l := s.pool.list(ctx, camera, ns-back, ns+1)
	defer l.close()
	sources, peers := l.sources()
	silent := slices.Clone(l.silent)
	var out []foundRef
	o := index.MergeOptions{Continue: true, OnError: func(e *index.SourceError) { silent = append(silent, silence{peer: peers[e.Source], err: e.Err}) }}
	for m, err := range index.MergeWith(o, sources...) {
		if err != nil {
			return nil, nil, unreadable(fmt.Errorf("list %s: %w", camera, err))
		}
		if m.StartNS > ns {
			continue
		}
		w := want{camera: camera, epoch: m.Epoch, first: m.First, startNS: m.StartNS, size: m.Size, hash: m.Hash}
		for _, h := range m.Holders {
			w.holders |= 1 << peers[h].index
		}
		out = append(out, foundRef{w, m.EndNS, m.WindowNS, m.InitHash})
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	return out, silent, nil
}

// lastKey reads the fragments from the last one back, until one has a key frame at or
// before the time.
func (s *Service) lastKey(ctx context.Context, camera string, refs []foundRef, ns int64) (*keyFrame, error) {
	for n, i := 0, len(refs)-1; i >= 0 && n < keyFragments; n, i = n+1, i-1 {
		r := &refs[i]
		header, err := s.reader.init(ctx, camera, r.init, r.holders)
		if err != nil {
			return nil, unreadable(err)
		}
		init, err := media.ParseInit(header)
		if err != nil {
			return nil, unreadable(err)
		}
		if !slices.ContainsFunc(init.Tracks, func(t media.InitTrack) bool { return t.Kind == media.KindVideo }) {
			continue
		}
		data, err := s.reader.read(ctx, &r.want)
		if err != nil {
			return nil, unreadable(err)
		}
		k, err := keyOf(data, r, init, ns)
		if err != nil {
			return nil, unreadable(fmt.Errorf("find a key frame in %s: %w", &r.want, err))
		}
		if k != nil {
			k.header = header
			return k, nil
		}
	}
	return nil, nil
}

// keyOf returns the last key frame of the fragment at or before the time, or nil.
func keyOf(data []byte, r *foundRef, init *media.Init, ns int64) (*keyFrame, error) {
	p, err := media.ParseFragment(data, int64(len(data)), init, r.windowNS)
	if err != nil {
		return nil, err
	}
	for _, t := range p.Tracks {
		if t.Kind != media.KindVideo {
			continue
		}
		for i, x := range slices.Backward(t.Samples) {
			if !x.Sync || x.CaptureNS > ns {
				continue
			}
			k := &keyFrame{captureNS: x.CaptureNS, fragment: r.hash, sample: i, init: init}
			if init.Track(t.ID).Codec == media.MJPEG {
				k.jpeg = bytes.Clone(data[x.At : x.At+int64(x.Size)])
				return k, nil
			}
			one := p.Trim(media.Trim{FromNS: x.CaptureNS, ToNS: x.CaptureNS + 1, Only: media.KindVideo})
			if one.Samples != 1 {
				return nil, fmt.Errorf("%d samples at %s", one.Samples, at(x.CaptureNS))
			}
			k.picture = one.Append(make([]byte, 0, one.Size), data)
			return k, nil
		}
	}
	return nil, nil
}

// snapshot makes the picture at or before a time, or a Problem.
func (s *Service) snapshot(ctx context.Context, in *snapshotInput) (*snapshotJPEG, error) {
	if err := s.checkCamera(in.Camera); err != nil {
		return nil, err
	}
	now := s.clock.Now()
	when := now
	if in.At != "" {
		var err error
		if when, err = parseTime("at", in.At); err != nil {
			return nil, err
		}
	}
	if when.After(now.Add(aheadOfNow)) {
		return nil, &Problem{
			Type: problemFuture, Status: http.StatusBadRequest, Title: "The time is in the future", Field: "at",
			Detail: fmt.Sprintf("at is %s, and it is now %s.", stamp{when}, stamp{now}),
		}
	}
	width, err := parseWidth(in.Width, 0)
	if err != nil {
		return nil, err
	}
	k, silent, err := s.keyFrameAt(ctx, in.Camera, when.UnixNano(), false)
	if err != nil {
		return nil, err
	}
	if k == nil {
		p := &plan{camera: in.Camera, silent: make(map[string]error)}
		span := stretch{when.Add(-keyBack).UnixNano(), when.UnixNano() + 1}
		for _, x := range silent {
			p.silent[x.peer.Name] = x.err
			p.unknown = []stretch{span}
		}
		return nil, s.noFootage(ctx, p, span)
	}
	got, err := s.pictures(ctx, []*keyFrame{k}, width)
	if err != nil {
		return nil, err
	}
	return got[0], nil
}

func parseWidth(text string, usual int) (int, error) {
	if text == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < minWidth || n > maxWidth {
		return 0, noOption("width", "width is %q; it is a number of pixels, %d to %d.", text, minWidth, maxWidth)
	}
	return n &^ 1, nil
}

// pictures makes the pictures of key frames, of that width at most (0: as they are). A nil
// frame gives a nil picture.
func (s *Service) pictures(ctx context.Context, keys []*keyFrame, width int) ([]*snapshotJPEG, error) {
	out := make([]*snapshotJPEG, len(keys))
	var todo []int
	for i, k := range keys {
		if k == nil {
			continue
		}
		if p, ok := s.jpegs.get(k.key(width)); ok {
			out[i] = p
			continue
		}
		todo = append(todo, i)
	}
	if len(todo) == 0 {
		return out, nil
	}
	turn, cancel := context.WithTimeout(ctx, snapshotWait)
	defer cancel()
	if err := s.decoding.Acquire(turn, 1); err != nil {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return nil, &Problem{
			Type: problemBusy, Status: http.StatusServiceUnavailable, Title: "Too many pictures are being made",
			Detail: "Ask again.", header: http.Header{"Retry-After": {"1"}},
		}
	}
	defer s.decoding.Release(1)
	for len(todo) > 0 {
		batch, rest := sameHeader(keys, todo)
		todo = rest
		made, err := s.decode(ctx, keys, batch, width)
		if err != nil {
			return nil, err
		}
		for n, i := range batch {
			if made[n] == nil {
				continue
			}
			out[i] = newPicture(keys[i], made[n])
			s.jpegs.put(keys[i].key(width), out[i], int64(len(made[n]))+256)
		}
	}
	return out, nil
}

func (k *keyFrame) key(width int) jpegKey { return jpegKey{k.fragment, k.sample, width} }

func newPicture(k *keyFrame, data []byte) *snapshotJPEG {
	c, err := jpeg.DecodeConfig(bytes.NewReader(data))
	size := ""
	if err == nil {
		size = fmt.Sprintf("-%dx%d", c.Width, c.Height)
	}
	return &snapshotJPEG{captureNS: k.captureNS, data: data, tag: fmt.Sprintf(`"%x-%d%s"`, k.fragment[:12], k.sample, size)}
}

// sameHeader splits off those that can be decoded together with the first one.
func sameHeader(keys []*keyFrame, todo []int) (batch, rest []int) {
	for _, i := range todo {
		if k, first := keys[i], keys[todo[0]]; k.init.Hash == first.init.Hash && len(batch) < maxBatch {
			batch = append(batch, i)
		} else {
			rest = append(rest, i)
		}
	}
	return batch, rest
}

// maxBatch is how many pictures one process decodes.
const maxBatch = 32

var errPicture = errors.New("the picture cannot be decoded")
