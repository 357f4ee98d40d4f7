package e2e

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
)

// exports is progressive files and archives of a range that are downloaded one after another.
type exports struct {
	s        *site
	from, to time.Time
	cameras  []string

	progressive, zips []string // of cameras[0], of all
	err               error
}

// run downloads until stop is closed.
func (e *exports) run(stop <-chan struct{}) {
	get := func(path string, list *[]string) {
		if e.err != nil {
			return
		}
		var file string
		file, e.err = e.s.save(path)
		*list = append(*list, file)
	}
	all := "/v1/export.zip" + rangeQuery(e.from, e.to)
	for _, cam := range e.cameras {
		all += "&camera=" + cam
	}
	for {
		get("/v1/cameras/"+e.cameras[0]+"/recording.mp4"+rangeQuery(e.from, e.to)+"&layout=progressive", &e.progressive)
		get(all, &e.zips)
		select {
		case <-stop:
			return
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// check compares the first of each kind with the ledger, and the others with the first.
func (e *exports) check(t testing.TB, sim *camsim.Sim) {
	t.Helper()
	require.NoError(t, e.err)
	require.GreaterOrEqual(t, len(e.zips), 2)
	seen := map[string][sha256.Size]byte{}
	check := func(what, camera, path string) {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		sum := sha256.Sum256(b)
		if want, ok := seen[what]; ok {
			require.Equal(t, want, sum, "%s is the same every time", what)
			return
		}
		seen[what] = sum
		tl, err := e.s.timeline(camera, e.from, e.to)
		require.NoError(t, err)
		require.Empty(t, tl.Gaps)
		report := compare(t, sim.Camera(camera), path, tl, e.from, e.to)
		t.Logf("%s: %s", what, report)
		require.NoError(t, report.Err())
	}
	for _, path := range e.progressive {
		check("progressive "+e.cameras[0], e.cameras[0], path)
	}
	for _, path := range e.zips {
		z, err := zip.OpenReader(path)
		require.NoError(t, err)
		require.Len(t, z.File, len(e.cameras)+1)
		for n, cam := range e.cameras {
			f, err := z.File[n].Open()
			require.NoError(t, err)
			b, err := io.ReadAll(f)
			require.NoError(t, err, "its checksum")
			path := filepath.Join(e.s.dir, "zip-"+cam+".mp4")
			require.NoError(t, os.WriteFile(path, withoutManifest(b), 0o600))
			check("zip "+cam, cam, path)
		}
		require.NoError(t, z.Close())
	}
	t.Logf("%d progressive exports, %d archives", len(e.progressive), len(e.zips))
}

// withoutManifest cuts off the box at the end, which has the time at which it was made.
func withoutManifest(b []byte) []byte {
	end := b[len(b)-4:]
	n := int(end[0])<<24 | int(end[1])<<16 | int(end[2])<<8 | int(end[3])
	if n > 8 && n < len(b) && string(b[len(b)-n+4:len(b)-n+8]) == "uuid" {
		return b[:len(b)-n]
	}
	return b
}

// save downloads something and returns the path of the file.
func (s *site) save(path string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.http+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	f, err := os.CreateTemp(s.dir, "export-*")
	if err != nil {
		return "", err
	}
	n, err := io.Copy(f, resp.Body)
	switch {
	case err == nil && resp.StatusCode != http.StatusOK:
		err = fmt.Errorf("%s: %s", path, resp.Status)
	case err == nil && n != resp.ContentLength:
		err = fmt.Errorf("%s: %d bytes of %d", path, n, resp.ContentLength)
	}
	return f.Name(), errors.Join(err, f.Close())
}
