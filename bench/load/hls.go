package load

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// beginHLS does what a player does until it can show something: playlist, init header,
// first segment. Each of the three is read whole, one after the other.
func (s *stage) beginHLS(ctx context.Context, a *Answering, playlists []string) error {
	first, all := newHistogram(), newHistogram()
	began := time.Now()
	for _, u := range playlists {
		at := time.Now()
		list, err := download(ctx, u)
		if err != nil {
			return err
		}
		header, segment := firstOfPlaylist(list)
		x := answer{first: time.Since(at), bytes: int64(len(list))}
		for _, ref := range []string{header, segment} {
			b, err := download(ctx, relative(u, ref))
			if err != nil {
				return err
			}
			if len(b) == 0 {
				x.err = fmt.Errorf("%s is empty", ref)
			}
			x.bytes += int64(len(b))
		}
		x.whole = time.Since(at)
		first.add(x.first)
		all.add(x.whole)
		a.note(&x)
	}
	a.done(first, all, time.Since(began))
	return nil
}

// firstOfPlaylist returns the first init header and the first segment.
func firstOfPlaylist(list []byte) (header, segment string) {
	for line := range bytes.Lines(list) {
		text := strings.TrimSpace(string(line))
		if rest, ok := strings.CutPrefix(text, `#EXT-X-MAP:URI="`); ok {
			header, _, _ = strings.Cut(rest, `"`)
		}
		if text != "" && text[0] != '#' {
			return header, text
		}
	}
	return header, segment
}

func relative(base, ref string) string {
	u, err := url.Parse(base)
	if err != nil {
		return ref
	}
	to, err := u.Parse(ref)
	if err != nil {
		return ref
	}
	return to.String()
}

func download(ctx context.Context, u string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %.300s", u, res.Status, b)
	}
	return b, err
}
