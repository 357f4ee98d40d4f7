package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestExportSavesTheRangeAndSaysWhatItLacks(t *testing.T) {
	const content = "an MP4 file"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/cameras/gate/recording.mp4" {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"title":"There is no such camera","detail":"gaet is not configured."}`))
			return
		}
		for _, p := range []string{"start", "end"} {
			if _, err := time.Parse(time.RFC3339Nano, r.URL.Query().Get(p)); err != nil {
				t.Errorf("%s: %v", p, err)
			}
		}
		w.Header().Set("Duet-Gaps", "2")
		w.Header().Set("Duet-Unknown", "r1")
		w.Header().Set("ETag", `"x"`)
		http.ServeContent(w, r, "x.mp4", time.Time{}, strings.NewReader(content))
	}))
	defer s.Close()
	file := filepath.Join(t.TempDir(), "gate.mp4")
	code, stdout, stderr := duet(t, "export", "gate", "--from", "-1m", "-o", file, "--url", s.URL)
	require.Equal(t, exitDone, code, stderr)
	require.Contains(t, stdout, "2 gaps in it")
	require.Contains(t, stdout, "r1 may have more")
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, content, string(got))

	code, _, stderr = duet(t, "export", "gate", "--from", "-1m", "-o", file, "--url", s.URL)
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, "exists")

	code, _, stderr = duet(t, "export", "gaet", "--from", "-1m", "-o", file, "--url", s.URL, "--force")
	require.Equal(t, exitFailed, code)
	require.Equal(t, "duet: export gaet: There is no such camera: gaet is not configured.\n", stderr)
}

func TestExportOfSeveralCamerasIsAnArchive(t *testing.T) {
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path+" "+strings.Join(r.URL.Query()["camera"], "+")+" "+r.URL.Query().Get("layout"))
		w.Header().Set("Duet-Gaps", "0")
		w.Header().Set("Content-Length", "7")
		_, _ = w.Write([]byte("archive"))
	}))
	defer s.Close()
	dir := t.TempDir()
	for _, args := range [][]string{
		{"gate", "yard", "-o", filepath.Join(dir, "x.zip")},
		{"gate", "yard", "-o", filepath.Join(dir, "x.bin"), "--format", "tar"},
		{"gate", "-o", filepath.Join(dir, "x.mp4"), "--format", "progressive"},
	} {
		code, _, stderr := duet(t, append([]string{"export", "--from", "-1m", "--url", s.URL}, args...)...)
		require.Equal(t, exitDone, code, stderr)
	}
	require.Equal(t, []string{"/v1/export.zip gate+yard ", "/v1/export.tar gate+yard ", "/v1/cameras/gate/recording.mp4  progressive"}, asked)
	code, _, stderr := duet(t, "export", "gate", "yard", "--from", "-1m", "-o", filepath.Join(dir, "y.mp4"), "--url", s.URL)
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, "2 cameras go into an archive")
}
