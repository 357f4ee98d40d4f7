package playback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"github.com/duet-video/duet/internal/media"
)

// NoFFmpeg as Options.FFmpeg: do without.
const NoFFmpeg = "none"

// findFFmpeg returns the program that decodes pictures, or nothing and why.
func findFFmpeg(path string) (string, error) {
	switch path {
	case NoFFmpeg:
		return "", errors.New("it is switched off")
	case "":
		path = "ffmpeg"
	}
	return exec.LookPath(path)
}

// maxJPEG bounds what a decoder may send.
const maxJPEG = 64 << 20

const jpegQuality = 85

// decode makes the pictures of keys[batch], which have the same header. A picture that
// cannot be decoded is nil, or an error where it is the only one.
func (s *Service) decode(ctx context.Context, keys []*keyFrame, batch []int, width int) ([][]byte, error) {
	out := make([][]byte, len(batch))
	if keys[batch[0]].jpeg != nil {
		for n, i := range batch {
			b, err := fitJPEG(keys[i].jpeg, width)
			if err != nil && len(batch) == 1 {
				return nil, unreadable(fmt.Errorf("%w: %w", errPicture, err))
			}
			out[n] = b
		}
		return out, nil
	}
	if s.ffmpeg == "" {
		return nil, &Problem{
			Type: problemFFmpeg, Status: http.StatusNotImplemented, Title: "Pictures cannot be made here",
			Detail: "Pictures of this camera are decoded by ffmpeg, which was not found when this playback node started (" + s.noFFmpeg +
				"). Install it in PATH and restart the node.",
		}
	}
	limited, cancel := context.WithTimeout(ctx, snapshotFor)
	defer cancel()
	images, err := s.runFFmpeg(limited, keys, batch, width)
	if err == nil && len(images) == len(batch) {
		return images, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if len(batch) == 1 {
		if err == nil {
			err = fmt.Errorf("%d pictures", len(images))
		}
		return nil, unreadable(fmt.Errorf("%w: %w", errPicture, err))
	}
	// Some of them: one by one tells which.
	for n := range batch {
		if images, err = s.runFFmpeg(limited, keys, batch[n:n+1], width); err == nil && len(images) == 1 {
			out[n] = images[0]
		}
	}
	return out, ctx.Err()
}

// runFFmpeg decodes the key frames, which become a presentation of one picture a second.
func (s *Service) runFFmpeg(ctx context.Context, keys []*keyFrame, batch []int, width int) ([][]byte, error) {
	first := keys[batch[0]]
	merged, err := media.MergeInits([]*media.Init{first.init}, media.Edit{})
	if err != nil {
		return nil, err
	}
	in := bytes.NewBuffer(bytes.Clone(first.header))
	for n, i := range batch {
		b := bytes.Clone(keys[i].picture)
		if err := merged.Retime(b, media.Retiming{Sequence: uint32(n + 1), WindowNS: int64(n) * int64(time.Second)}); err != nil {
			return nil, err
		}
		in.Write(b)
	}
	filter := "setpts=N/(25*TB)"
	if width > 0 {
		filter += fmt.Sprintf(",scale=w='min(%d,iw)':h=-2", width)
	}
	cmd := exec.CommandContext(ctx, s.ffmpeg, "-nostdin", "-v", "error", "-protocol_whitelist", "pipe", "-threads", "1",
		"-f", "mp4", "-i", "pipe:0", "-an", "-frames:v", fmt.Sprint(len(batch)), "-vf", filter, "-r", "25", "-pix_fmt", "yuvj420p",
		"-threads", "1", "-c:v", "mjpeg", "-q:v", "4", "-f", "image2pipe", "pipe:1")
	cmd.Stdin = in
	out, errs := &limitedBuffer{max: maxJPEG}, &limitedBuffer{max: 4 << 10}
	cmd.Stdout, cmd.Stderr = out, errs
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("ffmpeg: %w: %s", err, strings.TrimSpace(errs.String()))
	}
	return splitJPEG(out.Bytes()), nil
}

// limitedBuffer keeps what is written to it up to a limit, and forgets the rest.
type limitedBuffer struct {
	bytes.Buffer
	max int
}

// Write implements io.Writer.
func (b *limitedBuffer) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), max(b.max-b.Len(), 0))])
	return len(p), nil
}

// splitJPEG splits images that follow each other: where one ends (EOI) and the next one
// begins (SOI, ITU-T T.81 B.1.1.3).
func splitJPEG(b []byte) [][]byte {
	var out [][]byte
	for len(b) > 0 {
		n := bytes.Index(b, []byte{0xff, 0xd9, 0xff, 0xd8})
		if n < 0 {
			if bytes.HasSuffix(b, []byte{0xff, 0xd9}) {
				out = append(out, b)
			}
			return out
		}
		out = append(out, b[:n+2:n+2])
		b = b[n+2:]
	}
	return out
}

// fitJPEG makes an image of that width at most, 0: as it is.
func fitJPEG(b []byte, width int) ([]byte, error) {
	c, err := jpeg.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	if width == 0 || c.Width <= width {
		return b, nil
	}
	if c.Width*c.Height > maxPixels {
		return nil, fmt.Errorf("%d × %d pixels", c.Width, c.Height)
	}
	img, err := jpeg.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = jpeg.Encode(&out, shrink(img, width), &jpeg.Options{Quality: jpegQuality})
	return out.Bytes(), err
}

const maxPixels = 64 << 20

// shrink makes an image smaller: each pixel is the mean of those that fall on it.
func shrink(img image.Image, width int) image.Image {
	b := img.Bounds()
	height := max(b.Dy()*width/b.Dx(), 1)
	src := image.NewRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	draw.Draw(src, src.Bounds(), img, b.Min, draw.Src)
	out := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		y0, y1 := y*b.Dy()/height, max((y+1)*b.Dy()/height, y*b.Dy()/height+1)
		for x := range width {
			x0, x1 := x*b.Dx()/width, max((x+1)*b.Dx()/width, x*b.Dx()/width+1)
			var sum [3]int
			for sy := y0; sy < y1; sy++ {
				row := src.Pix[sy*src.Stride+x0*4 : sy*src.Stride+x1*4]
				for i := 0; i < len(row); i += 4 {
					sum[0] += int(row[i])
					sum[1] += int(row[i+1])
					sum[2] += int(row[i+2])
				}
			}
			n := (y1 - y0) * (x1 - x0)
			out.SetRGBA(x, y, color.RGBA{uint8(sum[0] / n), uint8(sum[1] / n), uint8(sum[2] / n), 255})
		}
	}
	return out
}
