package playback

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	stripTiles, maxTiles = 10, 60
	stripWidth           = 160
	maxTileWidth         = 640
	stripAtOnce          = 6
)

// strip is pictures of a stretch of time side by side, each of the middle of its part.
type strip struct {
	data  []byte
	tag   string
	times []string // of the pictures; empty: there is none
	// wide is how wide a tile is.
	wide, high int
}

// strip makes a strip, or a Problem.
func (s *Service) strip(ctx context.Context, in *stripInput) (*strip, stretch, error) {
	if err := s.checkCamera(in.Camera); err != nil {
		return nil, stretch{}, err
	}
	span, err := parseRange(in.Start, in.End, s.clock.Now(), true, s.o.Limits.Timeline)
	if err != nil {
		return nil, span, err
	}
	n := stripTiles
	if in.N != "" {
		if n, err = strconv.Atoi(in.N); err != nil || n < 1 || n > maxTiles {
			return nil, span, noOption("n", "n is %q; it is a number of pictures, 1 to %d.", in.N, maxTiles)
		}
	}
	width, err := parseWidth(in.Width, stripWidth)
	if err != nil {
		return nil, span, err
	}
	width = min(width, maxTileWidth)
	keys := make([]*keyFrame, n)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(stripAtOnce)
	part := (span.endNS - span.startNS) / int64(n)
	for i := range n {
		g.Go(func() (err error) {
			keys[i], _, err = s.keyFrameAt(gctx, in.Camera, span.startNS+part*int64(i)+part/2, true)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, span, err
	}
	got, err := s.pictures(ctx, keys, width)
	if err != nil {
		return nil, span, err
	}
	out, err := tile(got, width)
	return out, span, err
}

// tile puts pictures side by side; what is missing is dark.
func tile(got []*snapshotJPEG, width int) (*strip, error) {
	out := &strip{wide: width, times: make([]string, len(got))}
	images := make([]image.Image, len(got))
	sum := sha256.New()
	for i, p := range got {
		if p == nil {
			fmt.Fprint(sum, "none\n")
			continue
		}
		fmt.Fprintln(sum, p.tag)
		img, err := jpeg.Decode(bytes.NewReader(p.data))
		if err != nil {
			return nil, unreadable(fmt.Errorf("%w: %w", errPicture, err))
		}
		if img.Bounds().Dx() > width {
			img = shrink(img, width)
		}
		images[i] = img
		out.times[i] = at(p.captureNS).String()
		out.high = max(out.high, img.Bounds().Dy())
	}
	if out.high == 0 {
		out.high = width * 9 / 16
	}
	sheet := image.NewRGBA(image.Rect(0, 0, width*len(got), out.high))
	draw.Draw(sheet, sheet.Bounds(), image.NewUniform(color.RGBA{24, 24, 24, 255}), image.Point{}, draw.Src)
	for i, img := range images {
		if img != nil {
			draw.Draw(sheet, image.Rect(width*i, 0, width*(i+1), out.high), img, img.Bounds().Min, draw.Src)
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, sheet, &jpeg.Options{Quality: jpegQuality}); err != nil {
		return nil, unreadable(err)
	}
	out.data = b.Bytes()
	fmt.Fprint(sum, width)
	out.tag = `"` + base64.RawURLEncoding.EncodeToString(sum.Sum(nil)[:18]) + `"`
	return out, nil
}

const (
	headerTimes = "Duet-Times"
	headerTile  = "Duet-Tile"
	// settledFor is how old footage is of which another picture is not expected, so that
	// what was made of it may be kept.
	settledFor = time.Minute
	keepFor    = "private, max-age=3600"
)

// sendPicture answers with an image. It may be kept where what it is of is old.
func (s *Service) sendPicture(w http.ResponseWriter, r *http.Request, data []byte, tag string, of time.Time) {
	h := w.Header()
	h.Set("Content-Type", "image/jpeg")
	h.Set("ETag", tag)
	h.Set("Cache-Control", "no-cache")
	if s.clock.Now().Sub(of) > settledFor {
		h.Set("Cache-Control", keepFor)
	}
	counted := s.counted(w)
	http.ServeContent(counted, r, "", time.Time{}, bytes.NewReader(data))
	s.m.sent.Add(float64(counted.bytes))
}

func (t *strip) headers(h http.Header) {
	h.Set(headerTimes, strings.Join(t.times, ", "))
	h.Set(headerTile, fmt.Sprintf("%dx%d", t.wide, t.high))
}
