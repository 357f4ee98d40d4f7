package playback

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

const (
	hlsInitBytes  = 4 << 20
	hlsMediaBytes = 64 << 20
	// immutable: what is at a URL with a hash in it is the same for ever (RFC 8246).
	immutable = "public, max-age=31536000, immutable"
)

// hlsInit is an init header as players of HLS get it.
type hlsInit struct {
	parsed *media.Init
	merged *media.Merged
	header []byte
	// out are the tracks that are left out, by bit of their ID, and what they are.
	out     uint32
	outText []string
	video   media.Codec // of the first track of video; empty: there is none
}

// inHLS says which codecs browsers play out of fragmented MP4. (Some play AC-3, too.)
func inHLS(c media.Codec) bool {
	switch c {
	case media.H264, media.H265, media.AV1, media.VP9, media.AAC, media.Opus, media.MP3:
		return true
	}
	return false
}

// hlsInit returns the header for players of HLS: without the tracks that they cannot play.
func (s *Service) hlsInit(ctx context.Context, camera string, hash media.Hash, holders uint64) (*hlsInit, error) {
	if h, ok := s.hlsInits.get(hash); ok {
		return h, nil
	}
	b, err := s.reader.init(ctx, camera, hash, holders)
	if err != nil {
		return nil, err
	}
	h, err := newHLSInit(b)
	if err != nil {
		return nil, fmt.Errorf("init header %x… of %s: %w", hash[:6], camera, err)
	}
	s.hlsInits.put(hash, h, int64(len(h.header)+len(b))+512)
	return h, nil
}

func newHLSInit(b []byte) (*hlsInit, error) {
	parsed, err := media.ParseInit(b)
	if err != nil {
		return nil, err
	}
	h := &hlsInit{parsed: parsed, header: b}
	kept := &media.Init{Hash: parsed.Hash}
	for _, t := range parsed.Tracks {
		if !inHLS(t.Codec) {
			h.out |= 1 << (t.ID & 31)
			h.outText = append(h.outText, fmt.Sprintf("%s (%s)", t.Kind, t.Codec))
			continue
		}
		if t.Kind == media.KindVideo && h.video == "" {
			h.video = t.Codec
		}
		kept.Tracks = append(kept.Tracks, t)
	}
	if len(kept.Tracks) == 0 {
		return h, nil
	}
	if h.merged, err = media.MergeInits([]*media.Init{kept}, media.Edit{}); err != nil {
		return nil, err
	}
	if h.out != 0 {
		h.header = h.merged.Header
	}
	return h, nil
}

// hlsOriginNS is where the times of segments count from: 1970. They do not begin anew at a
// segment window, so that no discontinuity is needed there; they do not depend on a
// playlist, so that what is at a URL is the same for ever; and they do not go back where a
// session follows another one, for players that do not heed discontinuities (ffmpeg).
const hlsOriginNS = 0

// hlsFragment makes the segment of a stored fragment: its times moved, tracks that
// browsers do not play left out. It may modify data.
func (h *hlsInit) fragment(data []byte, it *hlsItem) ([]byte, error) {
	if h.out != 0 {
		p, err := media.ParseFragment(data, int64(len(data)), h.parsed, it.windowNS)
		if err != nil {
			return nil, err
		}
		t := p.Trim(media.Trim{FromNS: math.MinInt64, ToNS: math.MaxInt64, Without: h.out})
		if t.Size == 0 {
			return nil, nil
		}
		data = t.Append(make([]byte, 0, t.Size), data)
	}
	err := h.merged.Retime(data, media.Retiming{
		Sequence: uint32(it.first) + 1, WindowNS: it.windowNS, BaseNS: hlsOriginNS,
	})
	return data, err
}

// blob is something that is the same for ever.
type blob struct {
	data []byte
	tag  string
	kind string
	note string
}

// segmentKey is what a segment depends on.
type segmentKey struct {
	hash, init media.Hash
	windowNS   int64
	epoch      record.Epoch
}

// segment returns a media segment, or a Problem.
func (s *Service) segment(ctx context.Context, camera, init, epoch, name, ifNone string) (*blob, error) {
	if err := s.checkCamera(camera); err != nil {
		return nil, err
	}
	it, e, err1 := parseSegment(epoch, name)
	ih, err2 := parseHash(init)
	if errors.Join(err1, err2) != nil {
		return nil, notAPath()
	}
	b := &blob{tag: `"` + base64.RawURLEncoding.EncodeToString(it.hash[:]) + `"`, kind: "video/mp4"}
	if ifNone == b.tag {
		return b, nil // whoever has it has it for ever
	}
	key := segmentKey{it.hash, ih, it.windowNS, e}
	var ok bool
	if b.data, ok = s.segments.get(key); ok {
		return b, nil
	}
	holders := s.allHolders(camera)
	h, err := s.hlsInit(ctx, camera, ih, holders)
	if err != nil {
		return nil, unreadable(err)
	}
	w := &want{camera: camera, epoch: e, first: it.first, startNS: it.startNS, size: anySize, hash: it.hash, holders: holders}
	data, err := s.reader.readOrGone(ctx, w)
	if errors.Is(err, errGone) {
		return nil, &Problem{
			Type: problemGone, Status: http.StatusNotFound, Title: "The footage is not there any more",
			Detail: fmt.Sprintf("No recorder has this fragment of %s of %s: retention may have deleted it.", camera, at(it.startNS)),
		}
	}
	if err != nil {
		return nil, unreadable(err)
	}
	if h.merged == nil {
		return nil, notForHLS(camera, h)
	}
	if b.data, err = h.fragment(data, &it); err != nil {
		return nil, unreadable(fmt.Errorf("make a segment of %s: %w", w, err))
	}
	s.segments.put(key, b.data, int64(cap(b.data))+256)
	return b, nil
}

// header returns an init segment, or a Problem.
func (s *Service) header(ctx context.Context, camera, init string) (*blob, error) {
	if err := s.checkCamera(camera); err != nil {
		return nil, err
	}
	hash, err := parseHash(init)
	if err != nil {
		return nil, notAPath()
	}
	h, err := s.hlsInit(ctx, camera, hash, s.allHolders(camera))
	if err != nil {
		return nil, unreadable(err)
	}
	if h.merged == nil {
		return nil, notForHLS(camera, h)
	}
	return &blob{data: h.header, tag: `"` + init + `"`, kind: "video/mp4", note: strings.Join(h.outText, ", ")}, nil
}

func notAPath() error {
	return &Problem{
		Type: problemPath, Status: http.StatusNotFound, Title: "There is no such path",
		Detail: "The names of segments are in playlists.",
	}
}

// notForHLS says that nothing of the camera can be played.
func notForHLS(camera string, h *hlsInit) error {
	return &Problem{
		Type: problemCodec, Status: http.StatusNotAcceptable, Title: "Players of HLS cannot play this camera",
		Detail: fmt.Sprintf("%s sends %s, which no browser plays; recording.mp4 has it.", camera, strings.Join(h.outText, ", ")),
	}
}

// allHolders are the recorders that may have footage of the camera.
func (s *Service) allHolders(camera string) (holders uint64) {
	for _, p := range s.pool.holders(camera) {
		holders |= 1 << p.index
	}
	return holders
}

// sendBlob answers with something that is the same for ever.
func (s *Service) sendBlob(w http.ResponseWriter, r *http.Request, b *blob) {
	h := w.Header()
	h.Set("ETag", b.tag)
	h.Set("Cache-Control", immutable)
	if b.note != "" {
		h.Set(headerLeftOut, b.note)
	}
	if b.data == nil && r.Header.Get("If-None-Match") == b.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", b.kind)
	counted := s.counted(w)
	http.ServeContent(counted, r, "", time.Time{}, bytes.NewReader(b.data))
	s.m.sent.Add(float64(counted.bytes))
}
