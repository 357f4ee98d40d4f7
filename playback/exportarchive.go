package playback

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxArchive is how many cameras an archive may have.
const maxArchive = 64

// archive writes a file after another, each of known length. Between begin and end, the
// bytes of the file are written by the caller.
type archive interface {
	begin(name string, size int64, when time.Time) error
	// sum returns what the bytes of the file are to be written to; may be nil.
	sum() hash.Hash
	end(sum hash.Hash) error
	finish() error
}

// ArchiveManifest is manifest.json of an archive.
type ArchiveManifest struct {
	Software string        `json:"software"`
	Node     string        `json:"node"`
	Made     stamp         `json:"made"`
	Start    stamp         `json:"start"`
	End      stamp         `json:"end"`
	Cameras  []ArchiveFile `json:"cameras"`
}

// ArchiveFile says what an archive has of a camera.
type ArchiveFile struct {
	Camera string `json:"camera"`
	File   string `json:"file,omitempty" doc:"Absent: there is no footage."`
	Bytes  int64  `json:"bytes,omitempty"`
	SHA256 string `json:"sha256,omitempty" doc:"Of the file, hexadecimal."`
	// Signed: the file ends with a signed manifest (docs/FORMAT.md).
	Signed  bool             `json:"signed"`
	Start   *stamp           `json:"start,omitempty" doc:"Of what is shown."`
	End     *stamp           `json:"end,omitempty"`
	Gaps    []ArchiveStretch `json:"gaps" doc:"What no recorder has."`
	Unknown []ArchiveStretch `json:"unknown" doc:"What recorders that did not answer may have."`
	Silent  []string         `json:"silent" doc:"Those recorders."`
	Missing string           `json:"missing,omitempty" doc:"Why there is no file."`
}

// ArchiveStretch is a stretch of time.
type ArchiveStretch struct {
	Start stamp `json:"start"`
	End   stamp `json:"end"`
}

// bundle is several recordings as one archive of known length.
type bundle struct {
	make     func(io.Writer) archive
	name     string
	kind     string
	manifest ArchiveManifest
	files    []*virtual // parallel to manifest.Cameras; nil: none
	when     time.Time
	size     int64
	gaps     int
	silent   map[string]bool
}

// bundle makes the archive that is asked for, or a Problem.
func (s *Service) bundle(ctx context.Context, in *archiveInput, form string) (*bundle, error) {
	if err := checkArchive(in.Camera); err != nil {
		return nil, err
	}
	for _, c := range in.Camera {
		if err := s.checkCamera(c); err != nil {
			return nil, err
		}
	}
	now := s.clock.Now()
	span, err := parseRange(in.Start, in.End, now, false, s.o.Limits.Export)
	if err != nil {
		return nil, err
	}
	b := &bundle{
		make: newZIP, kind: "application/zip", when: time.Unix(0, span.endNS), silent: make(map[string]bool),
		name: "duet_" + at(span.startNS).Format("2006-01-02T15-04-05Z") + "." + form,
		manifest: ArchiveManifest{
			Software: "duet " + s.o.Version, Node: s.o.Name, Made: stamp{now.UTC()}, Start: at(span.startNS), End: at(span.endNS),
			Cameras: []ArchiveFile{},
		},
	}
	if form == "tar" {
		b.make, b.kind = newTAR, "application/x-tar"
	}
	left := s.o.Limits.Fragments
	var nothing error
	some := false
	for _, c := range in.Camera {
		v, err := s.recording(ctx, &rangeInput{Camera: c, Start: in.Start, End: in.End}, in.Layout, "")
		var p *Problem
		switch {
		case errors.As(err, &p) && (p.Type == problemEmpty || p.Type == problemSilent):
			b.manifest.Cameras = append(b.manifest.Cameras, ArchiveFile{
				Camera: c, Gaps: []ArchiveStretch{}, Unknown: []ArchiveStretch{}, Silent: append([]string{}, p.Recorders...), Missing: p.Detail,
			})
			b.files = append(b.files, nil)
			for _, r := range p.Recorders {
				b.silent[r] = true
			}
			nothing = err
			continue
		case err != nil:
			return nil, err
		}
		some = true
		if left -= len(v.plan.refs); left < 0 {
			return nil, tooLong("all cameras together have more than %d fragments; ask for them in parts.", s.o.Limits.Fragments)
		}
		b.add(v)
	}
	if !some {
		return nil, nothing
	}
	b.size, err = b.measure()
	return b, err
}

func checkArchive(cameras []string) error {
	if len(cameras) == 0 || len(cameras) > maxArchive {
		return noOption("camera", "camera is there %d times; name 1 to %d cameras: camera=a&camera=b.", len(cameras), maxArchive)
	}
	seen := make(map[string]bool)
	for _, c := range cameras {
		if seen[c] {
			return noOption("camera", "camera %s is named twice.", c)
		}
		seen[c] = true
	}
	return nil
}

func (b *bundle) add(v *virtual) {
	p := v.plan
	start, end := at(v.startNS), at(v.endNS)
	f := ArchiveFile{
		Camera: p.camera, File: v.fileName(), Bytes: v.size, SHA256: hex.EncodeToString(make([]byte, sha256.Size)),
		Signed: v.manifest != nil, Start: &start, End: &end,
		Gaps: archiveStretches(p.gaps), Unknown: archiveStretches(p.unknown), Silent: p.silentNames(),
	}
	b.gaps += len(p.gaps)
	for _, r := range f.Silent {
		b.silent[r] = true
	}
	b.manifest.Cameras = append(b.manifest.Cameras, f)
	b.files = append(b.files, v)
}

func archiveStretches(in []stretch) []ArchiveStretch {
	out := make([]ArchiveStretch, len(in))
	for i, g := range in {
		out[i] = ArchiveStretch{at(g.startNS), at(g.endNS)}
	}
	return out
}

// fileName is the name under which a recording is saved.
func (v *virtual) fileName() string {
	return fmt.Sprintf("%s_%s.mp4", v.plan.camera, at(v.startNS).Format("2006-01-02T15-04-05Z"))
}

const manifestName = "manifest.json"

func (b *bundle) manifestJSON() ([]byte, error) {
	text, err := json.MarshalIndent(&b.manifest, "", "  ")
	return append(text, '\n'), err
}

// length counts what is written to it.
type length int64

// Write implements io.Writer.
func (l *length) Write(p []byte) (int, error) {
	*l += length(len(p))
	return len(p), nil
}

// measure returns the length of the archive: hashes have a length that does not depend on
// what they are of.
func (b *bundle) measure() (int64, error) {
	text, err := b.manifestJSON()
	if err != nil {
		return 0, err
	}
	var n length
	a := b.make(&n)
	none := a.sum()
	if none == nil {
		none = sha256.New()
	}
	for i, v := range b.files {
		if v == nil {
			continue
		}
		if err := errors.Join(a.begin(b.manifest.Cameras[i].File, v.size, b.when), a.end(none)); err != nil {
			return 0, err
		}
		n += length(v.size)
	}
	err = errors.Join(a.begin(manifestName, int64(len(text)), b.when), a.end(none), a.finish())
	return int64(n) + int64(len(text)), err
}

// write writes the archive.
func (b *bundle) write(ctx context.Context, s *Service, w io.Writer) error {
	a := b.make(w)
	for i, v := range b.files {
		if v == nil {
			continue
		}
		sum := sha256.New()
		if err := b.writeFile(ctx, s, a, w, v, b.manifest.Cameras[i].File, sum); err != nil {
			return err
		}
		b.manifest.Cameras[i].SHA256 = hex.EncodeToString(sum.Sum(nil))
	}
	text, err := b.manifestJSON()
	if err != nil {
		return err
	}
	check := a.sum()
	if check != nil {
		_, _ = check.Write(text) // never fails
	}
	if err := a.begin(manifestName, int64(len(text)), b.when); err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	return errors.Join(a.end(check), a.finish())
}

func (b *bundle) writeFile(ctx context.Context, s *Service, a archive, w io.Writer, v *virtual, name string, sum hash.Hash) error {
	if err := a.begin(name, v.size, b.when); err != nil {
		return err
	}
	body := s.open(ctx, v)
	defer body.Close()
	to := []io.Writer{w, sum}
	check := a.sum()
	if check != nil {
		to = append(to, check)
	}
	if _, err := io.CopyN(io.MultiWriter(to...), body, v.size); err != nil {
		return fmt.Errorf("%s: %w", v.plan.camera, err)
	}
	return a.end(check)
}

// sendBundle answers with an archive.
func (s *Service) sendBundle(w http.ResponseWriter, r *http.Request, b *bundle) {
	h := w.Header()
	h.Set("Content-Type", b.kind)
	h.Set("Content-Length", strconv.FormatInt(b.size, 10))
	h.Set("Cache-Control", "no-store")
	h.Set("Accept-Ranges", "none")
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s"`, b.name))
	h.Set(headerGaps, strconv.Itoa(b.gaps))
	if len(b.silent) > 0 {
		h.Set(headerUnknown, strings.Join(slices.Sorted(maps.Keys(b.silent)), ", "))
	}
	if r.Method == http.MethodHead {
		return
	}
	counted := s.counted(w)
	err := b.write(r.Context(), s, counted)
	s.m.sent.Add(float64(counted.bytes))
	if err == nil {
		return
	}
	if r.Context().Err() == nil && counted.failed == nil {
		s.m.broken.Inc()
		s.warn("broken archive", func(n int) {
			s.o.Log.Error().Int("suppressed", n).Err(err).Msg("broke off an archive")
		})
	}
	// The length was promised: the client must see that this is not all.
	panic(http.ErrAbortHandler)
}
