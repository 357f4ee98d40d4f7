package playback

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func (s *site) archiveURL(form string, from, to int64, cameras ...string) string {
	q := url.Values{"start": {at(from).String()}, "end": {at(to).String()}, "camera": cameras}
	return s.base + "/v1/export." + form + "?" + q.Encode()
}

// unpack reads an archive with the standard library's reader.
func unpack(t testing.TB, form string, b []byte) (files map[string][]byte, order []string) {
	t.Helper()
	files = make(map[string][]byte)
	if form == "tar" {
		for r := tar.NewReader(bytes.NewReader(b)); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				return files, order
			}
			require.NoError(t, err)
			files[h.Name], err = io.ReadAll(r)
			require.NoError(t, err)
			order = append(order, h.Name)
		}
	}
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	require.NoError(t, err)
	for _, f := range z.File {
		r, err := f.Open()
		require.NoError(t, err)
		files[f.Name], err = io.ReadAll(r) // checks the checksum
		require.NoError(t, err)
		require.NoError(t, r.Close())
		order = append(order, f.Name)
	}
	return files, order
}

// twoCameras is a site with cameras gate and yard, the second with a gap, and hall, which
// has no footage.
func twoCameras(t testing.TB) (*site, []*fakeRecorder) {
	f := makeFootage(t, footageOptions{audio: true})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r1, r2)
	for _, r := range []*fakeRecorder{r1, r2} {
		r.add("yard", f.inits, append(append([]stored{}, f.frags[:10]...), f.frags[13:]...)...)
	}
	s := newSite(t, func(o *Options) {
		o.Cameras = append(o.Cameras, Camera{Name: "hall", Primary: "r1", Redundant: "r2"})
	}, r1, r2)
	require.Eventually(t, func() bool { return s.pool.knows("yard") }, 5*time.Second, 5*time.Millisecond)
	return s, []*fakeRecorder{r1, r2}
}

func TestArchiveHasTheFilesOfAllCameras(t *testing.T) {
	s, _ := twoCameras(t)
	for _, form := range []string{"zip", "tar"} {
		t.Run(form, func(t *testing.T) {
			u := s.archiveURL(form, frameNS(110), frameNS(840), "gate", "hall", "yard")
			resp, body, err := s.get(u)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, resp.StatusCode, "%s", body)
			require.EqualValues(t, len(body), resp.ContentLength)
			require.Equal(t, "1", resp.Header.Get(headerGaps))
			head, _, err := s.do(http.MethodHead, u)
			require.NoError(t, err)
			require.Equal(t, resp.ContentLength, head.ContentLength)
			files, order := unpack(t, form, body)
			require.Len(t, order, 3)
			require.Equal(t, manifestName, order[2])
			var m ArchiveManifest
			require.NoError(t, json.Unmarshal(files[manifestName], &m))
			require.Len(t, m.Cameras, 3)
			for i, camera := range []string{"gate", "hall", "yard"} {
				c := m.Cameras[i]
				require.Equal(t, camera, c.Camera)
				if camera == "hall" {
					require.Empty(t, c.File)
					require.Contains(t, c.Missing, "No recorder has footage of hall")
					continue
				}
				one, want, err := s.get(s.base + "/v1/cameras/" + camera + "/recording.mp4?" + url.Values{"start": {at(frameNS(110)).String()}, "end": {at(frameNS(840)).String()}}.Encode())
				require.NoError(t, err)
				require.Equal(t, http.StatusOK, one.StatusCode)
				require.True(t, bytes.Equal(want, files[c.File]))
				sum := sha256.Sum256(want)
				require.Equal(t, hex.EncodeToString(sum[:]), c.SHA256)
				require.EqualValues(t, len(want), c.Bytes)
				require.Equal(t, one.Header.Get(headerStart), c.Start.String())
			}
			require.Empty(t, m.Cameras[0].Gaps)
			require.Len(t, m.Cameras[2].Gaps, 1)
			require.WithinDuration(t, time.Unix(0, frameNS(250)), m.Cameras[2].Gaps[0].Start.Time, time.Millisecond)

			tool, args := "unzip", []string{"-t"}
			if form == "tar" {
				tool, args = "tar", []string{"-tf"}
			}
			file := filepath.Join(t.TempDir(), "x."+form)
			require.NoError(t, os.WriteFile(file, body, 0o600))
			if path, err := exec.LookPath(tool); err == nil {
				out, err := exec.Command(path, append(args, file)...).CombinedOutput()
				require.NoError(t, err, "%s", out)
			}
		})
	}
}

func TestArchiveIsTheSameThroughFailures(t *testing.T) {
	s, fakes := twoCameras(t)
	u := s.archiveURL("zip", frameNS(110), frameNS(840), "gate", "yard")
	_, want, err := s.get(u)
	require.NoError(t, err)
	first, _ := unpack(t, "zip", want)
	delete(first, manifestName) // has the time
	for kind, fails := range readFailures {
		if kind == "dies after some bytes" {
			continue
		}
		fakes[0].script(func(_ int, frag stored, out readStream) error { return fails(fakes[0], frag, out) })
		resp, body, err := s.get(u)
		require.NoError(t, err)
		require.EqualValues(t, len(body), resp.ContentLength)
		again, _ := unpack(t, "zip", body)
		delete(again, manifestName)
		require.Equal(t, first, again, kind)
	}
}

func TestArchiveIsBrokenOffNeverShortened(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1 := newFake(t, "r1")
	f.on(r1)
	s := newSite(t, func(o *Options) { o.Deadlines.Patience = 300 * time.Millisecond }, r1)
	bad := f.frags[20].ref.First
	r1.script(func(_ int, frag stored, out readStream) error {
		if frag.ref.First == bad {
			return status.Error(codes.DataLoss, "input/output error")
		}
		return sendChunks(out, frag.data)
	})
	for _, form := range []string{"zip", "tar"} {
		resp, body, err := s.get(s.archiveURL(form, frameNS(110), frameNS(840), "gate"))
		require.Error(t, err)
		require.Less(t, int64(len(body)), resp.ContentLength)
	}
}

func TestArchiveAnswersBadRequests(t *testing.T) {
	s, _ := twoCameras(t)
	for u, want := range map[string]string{
		s.archiveURL("zip", frameNS(0), frameNS(100)):                           problemOption,
		s.archiveURL("zip", frameNS(0), frameNS(100), "gate", "gate"):           problemOption,
		s.archiveURL("tar", frameNS(0), frameNS(100), "gate", "none"):           problemCamera,
		s.archiveURL("tar", frameNS(100), frameNS(0), "gate"):                   problemRange,
		s.archiveURL("zip", clipStart-1e15, frameNS(0), "gate"):                 problemLong,
		s.archiveURL("zip", clipStart-7200e9, clipStart-3600e9, "gate", "yard"): problemEmpty,
	} {
		resp, body, err := s.get(u)
		require.NoError(t, err)
		require.GreaterOrEqual(t, resp.StatusCode, 400)
		require.Less(t, resp.StatusCode, 500)
		require.Contains(t, string(body), want, u)
	}
}

func TestFilesOfAnArchiveProveThemselves(t *testing.T) {
	s, ca := signedSite(t, "v1", footageOptions{audio: true}, nil)
	resp, body, err := s.get(s.archiveURL("tar", frameNS(103), frameNS(777), "gate"))
	require.NoError(t, err)
	require.EqualValues(t, len(body), resp.ContentLength)
	files, _ := unpack(t, "tar", body)
	var m ArchiveManifest
	require.NoError(t, json.Unmarshal(files[manifestName], &m))
	require.True(t, m.Cameras[0].Signed)
	r := prove(t, files[m.Cameras[0].File], ca)
	require.True(t, r.OK(), "%v", r.Problems)
}
