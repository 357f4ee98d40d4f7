package playback

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	headerLeftOut = "Duet-Left-Out"
	playlistType  = "application/vnd.apple.mpegurl"
)

// playlist is a list and how it is to be written.
type playlist struct {
	list    *hlsList
	form    hlsForm
	headers http.Header
}

// hlsVOD makes the playlist of a range. It is complete where end is given and there is
// footage up to it, or nothing more is to come; else it grows.
func (s *Service) hlsVOD(ctx context.Context, in *hlsInput) (*playlist, error) {
	if err := s.checkCamera(in.Camera); err != nil {
		return nil, err
	}
	now := s.clock.Now()
	span, err := parseRange(in.Start, in.End, now, true, s.o.Limits.Export)
	if err != nil {
		return nil, err
	}
	skip, err := skipGaps(in.Gaps)
	if err != nil {
		return nil, err
	}
	if in.End == "" {
		return s.hlsGrowing(ctx, in, span, skip)
	}
	live, _ := s.liveness(in.Camera, now)
	from, to := ticks(span)
	p, err := s.plan(ctx, in.Camera, from, to, live)
	if err != nil {
		return nil, err
	}
	s.m.conflicts.Add(float64(p.conflicts))
	l := &hlsList{skipGaps: skip}
	l.add(p, longestOf(p), func(stretch, bool) bool { return true })
	if l.last == nil {
		return nil, s.noFootage(ctx, p, span)
	}
	out := &playlist{list: l, form: hlsForm{kind: "VOD", ended: true, target: l.seconds(), startNS: from, media: "media/"}}
	if p.awaits() {
		out.form.kind, out.form.ended = "EVENT", false
	}
	out.headers = listHeaders(in.Camera, l, stretch{from, to}, p.silentNames())
	return out, s.describe(ctx, in.Camera, out)
}

// awaits reports whether footage of the end of the range is still to come.
func (p *plan) awaits() bool {
	if p.lastEndNS+tickNS >= p.toNS {
		return false
	}
	for _, list := range [][]stretch{p.gaps, p.unknown} {
		if n := len(list); n > 0 && list[n-1].endNS == p.toNS {
			return false
		}
	}
	return true
}

func skipGaps(text string) (bool, error) {
	switch text {
	case "", "mark":
		return false, nil
	case "skip":
		return true, nil
	}
	return false, noOption("gaps", "gaps is %q; it is mark or skip.", text)
}

// describe reads the init headers that the list needs (most often one, which is known),
// and says what of the camera is left out.
func (s *Service) describe(ctx context.Context, camera string, p *playlist) error {
	var out []string
	playable := false
	var some *hlsInit
	for i, hash := range p.list.inits {
		h, err := s.hlsInit(ctx, camera, hash, p.list.holders[i])
		if err != nil {
			return unreadable(err)
		}
		for _, t := range h.outText {
			if !slices.Contains(out, t) {
				out = append(out, t)
			}
		}
		some = h
		playable = playable || h.merged != nil
	}
	if !playable && some != nil {
		return notForHLS(camera, some)
	}
	if len(out) > 0 {
		text := strings.Join(out, ", ")
		p.headers.Set(headerLeftOut, text)
		p.form.notes = append(p.form.notes, "left out, because browsers do not play it: "+text)
	}
	return nil
}

// listHeaders are the headers of a playlist, as those of a recording.
func listHeaders(camera string, l *hlsList, span stretch, silent []string) http.Header {
	h := http.Header{}
	if n := len(l.items); n > 0 {
		h.Set(headerStart, at(l.items[0].startNS).String())
		h.Set(headerEnd, at(l.items[n-1].endNS).String())
	}
	h.Set(headerGaps, strconv.Itoa(l.gaps))
	if len(silent) > 0 {
		h.Set(headerUnknown, strings.Join(silent, ", "))
	}
	q := url.Values{"start": {at(span.startNS).String()}, "end": {at(span.endNS).String()}}
	h.Set("Link", fmt.Sprintf(`</v1/cameras/%s/timeline?%s>; rel="describedby"`, camera, q.Encode()))
	return h
}

// sendPlaylist answers with a playlist.
func (s *Service) sendPlaylist(w http.ResponseWriter, r *http.Request, p *playlist) {
	h := w.Header()
	for k, v := range p.headers {
		h[k] = v
	}
	h.Set("Content-Type", playlistType)
	h.Set("Cache-Control", "no-cache")
	if r.Method == http.MethodHead {
		return
	}
	counted := s.counted(w)
	_ = p.list.write(counted, &p.form) // the client may be gone
	s.m.sent.Add(float64(counted.bytes))
}

// hlsObserve notes how long it took until an answer could begin.
func (s *Service) hlsObserve(operation string, began int64, err error) {
	s.m.observe(operation, err, time.Duration(s.clock.Mono()-began))
}
