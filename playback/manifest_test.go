package playback

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/evidence"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/pki"
)

// signedSite is a site that signs its exports, and the file of its CA.
func signedSite(t *testing.T, name string, o footageOptions, change func(*footage)) (*site, string) {
	t.Helper()
	dir := t.TempDir()
	_, err := pki.EnsureCA(dir)
	require.NoError(t, err)
	require.NoError(t, pki.IssueSigner(dir, name))
	signer, err := pki.LoadSigner(dir, name)
	require.NoError(t, err)
	f := makeFootage(t, o)
	if change != nil {
		change(f)
	}
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r1, r2)
	s := newSite(t, func(o *Options) {
		o.Name, o.Signer = name, &evidence.Signer{Cert: signer.Cert, Key: signer.Key}
	}, r1, r2)
	return s, filepath.Join(dir, "ca.crt")
}

func prove(t testing.TB, file []byte, ca string) *evidence.Report {
	t.Helper()
	roots, err := pki.Roots(ca)
	require.NoError(t, err)
	r, err := evidence.Verify(t.Context(), bytes.NewReader(file), int64(len(file)), evidence.VerifyOptions{Roots: roots})
	require.NoError(t, err)
	return r
}

func TestSignedExportProvesItselfWithoutAServer(t *testing.T) {
	s, ca := signedSite(t, "v1", footageOptions{audio: true}, nil)
	for name, r := range map[string][2]int64{
		"whole fragments and two edges": {frameNS(103), frameNS(777)},
		"within one fragment":           {frameNS(103), frameNS(110)},
		"all there is":                  {frameNS(0), frameNS(1000)},
		"between key frames":            {frameNS(33), frameNS(60)},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := s.export(r[0], r[1])
			rep := prove(t, body, ca)
			require.True(t, rep.OK(), "%+v", rep)
			require.Equal(t, "v1", rep.SignedBy)
			require.Equal(t, "gate", rep.Manifest.Camera)
			require.Equal(t, []string{"r1", "r2"}, rep.Manifest.Recorders)
			require.Equal(t, resp.Header.Get(headerStart), at(rep.Manifest.Start.UnixNano()).String())
			for _, f := range rep.Manifest.Fragments {
				require.EqualValues(t, 3, f.Recorders, "both hold it")
			}
			require.NotEmpty(t, rep.Manifest.Units, "of the edges")

			// The bytes of the manifest are had in parts, too.
			u := s.url(r[0], r[1])
			for _, from := range []int64{rep.Manifest.At - 5, rep.Manifest.At + 40, int64(len(body)) - 3} {
				_, part, err := s.get(u, "Range", fmt.Sprintf("bytes=%d-", from), "If-Range", resp.Header.Get("ETag"))
				require.NoError(t, err)
				require.Equal(t, body[from:], part)
			}
		})
	}
}

func TestAnyChangeOfASignedExportIsFoundAndNamed(t *testing.T) {
	s, ca := signedSite(t, "v1", footageOptions{audio: true}, nil)
	_, body := s.export(frameNS(103), frameNS(333))
	m := prove(t, body, ca).Manifest
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	check := func(at int64) {
		t.Helper()
		bad := bytes.Clone(body)
		bad[at] ^= 1 << random.IntN(8)
		roots, err := pki.Roots(ca)
		require.NoError(t, err)
		r, err := evidence.Verify(t.Context(), bytes.NewReader(bad), int64(len(bad)), evidence.VerifyOptions{Roots: roots})
		if at >= m.At {
			require.True(t, err != nil || !r.OK(), "byte %d of the manifest", at-m.At)
			return
		}
		require.NoError(t, err)
		require.Len(t, r.Problems, 1, "byte %d", at)
		p := r.Problems[0]
		require.LessOrEqual(t, p.At, at)
		require.Greater(t, p.At+p.Size, at)
		inMedia := at >= m.Header.Size
		for _, u := range m.Units {
			inMedia = inMedia || at >= u.At && at < u.At+int64(u.Size)
		}
		if inMedia {
			require.Equal(t, "gate", p.Camera)
			require.NotZero(t, p.Time)
			require.Contains(t, p.String(), "gate")
		}
	}
	for _, f := range m.Fragments {
		if f.Size > 0 {
			check(f.At)
			check(f.At + f.Size - 1)
			check(f.At + random.Int64N(f.Size))
		}
	}
	for _, u := range m.Units {
		check(u.At + random.Int64N(int64(u.Size)))
	}
	for range 100 {
		check(random.Int64N(int64(len(body))))
	}
	for at := m.At; at < m.At+40; at++ {
		check(at)
	}
	for at := m.At + m.Size - 80; at < m.At+m.Size; at++ {
		check(at)
	}
	roots, err := pki.Roots(ca)
	require.NoError(t, err)
	for name, change := range map[string]func() []byte{
		"cut short":       func() []byte { return body[:len(body)-1] },
		"without its end": func() []byte { return body[:m.At] },
		"longer":          func() []byte { return append(bytes.Clone(body), 0) },
	} {
		b := change()
		_, err := evidence.Verify(t.Context(), bytes.NewReader(b), int64(len(b)), evidence.VerifyOptions{Roots: roots})
		require.ErrorIs(t, err, evidence.ErrNone, name)
	}
	f := m.Fragments[2]
	without := append(bytes.Clone(body[:f.At]), body[f.At+f.Size:]...)
	require.False(t, prove(t, without, ca).OK(), "a fragment taken away")
	twice := append(append(bytes.Clone(body[:f.At+f.Size]), body[f.At:f.At+f.Size]...), body[f.At+f.Size:]...)
	require.False(t, prove(t, twice, ca).OK(), "a fragment added")
}

func TestExportIsNotProvenByAnotherSite(t *testing.T) {
	s, _ := signedSite(t, "v1", footageOptions{}, nil)
	_, body := s.export(frameNS(103), frameNS(200))
	other := t.TempDir()
	_, err := pki.EnsureCA(other)
	require.NoError(t, err)
	r := prove(t, body, filepath.Join(other, "ca.crt"))
	require.False(t, r.OK())
	require.Empty(t, r.Problems, "the media is what it was")
	require.Contains(t, r.Signature, "not good")
}

func TestDownloadOfASignedExportGoesOnAfterARestartAndALaterHour(t *testing.T) {
	dir := t.TempDir()
	_, err := pki.EnsureCA(dir)
	require.NoError(t, err)
	require.NoError(t, pki.IssueSigner(dir, "v1"))
	k, err := pki.LoadSigner(dir, "v1")
	require.NoError(t, err)
	f := makeFootage(t, footageOptions{audio: true})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r1, r2)
	start := func() *site {
		return newSite(t, func(o *Options) { o.Name, o.Signer = "v1", &evidence.Signer{Cert: k.Cert, Key: k.Key} }, r1, r2)
	}
	s := start()
	resp, body := s.export(frameNS(103), frameNS(333))
	tag := resp.Header.Get("ETag")
	again := start()
	u := strings.Replace(s.url(frameNS(103), frameNS(333)), s.base, again.base, 1)
	_, part, err := again.get(u, "Range", "bytes=1000-", "If-Range", tag)
	require.NoError(t, err)
	require.True(t, bytes.Equal(body[1000:], part))

	forged := strings.Replace(tag, "."+strings.Split(tag, ".")[1]+".", ".1.", 1)
	resp, _, err = again.get(u, "Range", "bytes=1000-", "If-Range", forged)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode, "nobody chooses when a manifest was made")
}

func TestPlayersIgnoreTheManifest(t *testing.T) {
	s, ca := signedSite(t, "v1", footageOptions{audio: true}, nil)
	_, body := s.export(frameNS(103), frameNS(333))
	m := prove(t, body, ca).Manifest
	signed, plain := filepath.Join(t.TempDir(), "signed.mp4"), filepath.Join(t.TempDir(), "plain.mp4")
	require.NoError(t, os.WriteFile(signed, body, 0o600))
	require.NoError(t, os.WriteFile(plain, body[:m.At], 0o600))
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		require.Empty(t, os.Getenv("CI"), "ffmpeg is not installed: `make setup` installs it")
		t.Skip("ffmpeg is not installed: `make setup` installs it")
	}
	a, err := decoded(signed)
	require.NoError(t, err)
	b, err := decoded(plain)
	require.NoError(t, err)
	require.NotEmpty(t, a)
	require.Equal(t, b, a)
}

func TestManifestSaysWhyFootageIsMissingAndWhoMayHaveIt(t *testing.T) {
	dir := t.TempDir()
	_, err := pki.EnsureCA(dir)
	require.NoError(t, err)
	require.NoError(t, pki.IssueSigner(dir, "v1"))
	k, err := pki.LoadSigner(dir, "v1")
	require.NoError(t, err)
	f := makeFootage(t, footageOptions{})
	f.frags = slices.Delete(f.frags, 5, 8)
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r1, r2)
	s := newSite(t, func(o *Options) { o.Name, o.Signer = "v1", &evidence.Signer{Cert: k.Cert, Key: k.Key} }, r1, r2)
	ca := filepath.Join(dir, "ca.crt")
	from, to := frameNS(103), frameNS(333)
	holeStart, holeEnd := frameNS(5*25), frameNS(8*25)
	_, body := s.export(from, to)
	rep := prove(t, body, ca)
	require.True(t, rep.OK(), "%+v", rep)
	gap := func(cause media.Cause, from, to int64) evidence.Gap {
		return evidence.Gap{Stretch: between(from, to), Cause: cause}
	}
	require.Equal(t, []evidence.Gap{gap(media.CauseBehind, holeStart, holeEnd)}, rep.Manifest.Gaps)
	require.Empty(t, rep.Manifest.Unknown)

	// r2 has not told all that it has of the first half of the hole.
	r2.mu.Lock()
	r2.lacking, r2.lackingNS = "the index is being made anew", frameNS(6*25)
	r2.mu.Unlock()
	_, body = s.export(from, to)
	rep = prove(t, body, ca)
	require.True(t, rep.OK(), "%+v", rep)
	require.Equal(t, []evidence.Unknown{{Stretch: between(holeStart, frameNS(6*25)), Recorders: []string{"r2"}}}, rep.Manifest.Unknown)
	require.Equal(t, []evidence.Gap{gap(media.CauseBehind, frameNS(6*25), holeEnd)}, rep.Manifest.Gaps)
	require.Equal(t, []string{"r2"}, rep.Manifest.Silent)
}

func TestGapsAreCutWhereTheirCauseChanges(t *testing.T) {
	s := int64(time.Second)
	gaps := []stretch{{0, 10 * s}, {20 * s, 30 * s}, {50 * s, 60 * s}}
	causes := []index.Gap{
		{StartNS: -5 * s, EndNS: 4 * s, Cause: media.CauseRetention},
		{StartNS: 4*s + 1000, EndNS: 10*s - 1000, Cause: media.CauseStart},
		{StartNS: 20*s + 1000, EndNS: 25 * s, Cause: media.CauseDamaged},
	}
	got := ""
	for _, g := range explain(gaps, causes) {
		got += fmt.Sprintf("%.0f-%.0f %s\n", float64(g.Start.UnixNano())/1e9, float64(g.End.UnixNano())/1e9, g.Cause)
	}
	require.Equal(t, "0-4 retention\n4-10 not_started\n20-25 damaged\n25-30 \n50-60 \n", got)
}
