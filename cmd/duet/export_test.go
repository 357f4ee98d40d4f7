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
