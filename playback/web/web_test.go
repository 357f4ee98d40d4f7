package web

import (
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

var script = strings.Repeat("export const a = 1;\n", 100)

func site(t *testing.T) *Page {
	t.Helper()
	p, err := newPage(fstest.MapFS{
		"index.html":            {Data: []byte(`<!doctype html><script type="module" src="/assets/index-AbCd1234.js"></script>`)},
		"assets/index-AbCd1.js": {Data: []byte(script)},
		"icon.svg":              {Data: []byte("<svg/>")},
	})
	require.NoError(t, err)
	return p
}

func get(p *Page, path string, headers ...string) *http.Response {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	if !p.Has(r) {
		w.WriteHeader(http.StatusNotFound)
		return w.Result()
	}
	p.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return string(b)
}

func TestAddressesInThePageAreThePageAndTheAPIIsNot(t *testing.T) {
	p := site(t)
	for _, path := range []string{"/", "/watch/gate", "/watch/gate+yard?t=2026-03-01T12:00:00Z", "/watch/gate.2", "/recorders", "/locks"} {
		r := get(p, path, "Accept", "text/html,*/*")
		require.Equal(t, http.StatusOK, r.StatusCode, path)
		require.Contains(t, body(t, r), "<!doctype html>", path)
		require.Equal(t, "no-cache", r.Header.Get("Cache-Control"))
	}
	for _, path := range []string{"/v1/nothing", "/assets/gone-1234.js", "/favicon.ico"} {
		require.Equal(t, http.StatusNotFound, get(p, path, "Accept", "text/html").StatusCode, path)
	}
	require.Equal(t, http.StatusNotFound, get(p, "/nothing", "Accept", "*/*").StatusCode, "not a browser that goes there")
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	require.False(t, p.Has(r))
}

func TestFilesWithAHashAreKeptForEverAndOthersAreAskedFor(t *testing.T) {
	p := site(t)
	r := get(p, "/assets/index-AbCd1.js")
	require.Equal(t, "text/javascript; charset=utf-8", r.Header.Get("Content-Type"))
	require.Contains(t, r.Header.Get("Cache-Control"), "immutable")
	r = get(p, "/icon.svg")
	require.Equal(t, "no-cache", r.Header.Get("Cache-Control"))
	etag := r.Header.Get("ETag")
	require.Equal(t, http.StatusNotModified, get(p, "/icon.svg", "If-None-Match", etag).StatusCode)
	require.Equal(t, http.StatusNotModified, get(p, "/icon.svg", "If-None-Match", "W/"+etag).StatusCode)
	require.Equal(t, http.StatusOK, get(p, "/icon.svg", "If-None-Match", `"other"`).StatusCode)
}

func TestFilesAreCompressedForThoseWhoReadIt(t *testing.T) {
	p := site(t)
	r := get(p, "/assets/index-AbCd1.js", "Accept-Encoding", "gzip, deflate, br")
	require.Equal(t, "gzip", r.Header.Get("Content-Encoding"))
	z, err := gzip.NewReader(r.Body)
	require.NoError(t, err)
	b, err := io.ReadAll(z)
	require.NoError(t, err)
	require.Equal(t, script, string(b))
	for _, no := range []string{"", "br", "gzip;q=0"} {
		r = get(p, "/assets/index-AbCd1.js", "Accept-Encoding", no)
		require.Empty(t, r.Header.Get("Content-Encoding"), no)
		require.Equal(t, script, body(t, r))
	}
}

func TestNothingInlineRunsAndNothingIsLoadedFromElsewhere(t *testing.T) {
	csp := get(site(t), "/").Header.Get("Content-Security-Policy")
	require.Contains(t, csp, "default-src 'none'")
	require.NotContains(t, csp, "unsafe")
	require.NotContains(t, csp, "http")
	page, err := New()
	require.NoError(t, err)
	if !page.Built() {
		require.Empty(t, os.Getenv("CI"), "the page was not built: make web")
		t.Skip("the page was not built: make web")
	}
	html := body(t, get(page, "/"))
	require.NotRegexp(t, regexp.MustCompile(`(?i)<style|\son\w+=|style=|(?:src|href)="(?:https?:)?//`), html)
	for _, m := range regexp.MustCompile(`<script[^>]*>(.*?)</script>`).FindAllStringSubmatch(html, -1) {
		require.Empty(t, m[1], "a script inline")
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="(/[^"]+)"`).FindAllStringSubmatch(html, -1) {
		require.Equal(t, http.StatusOK, get(page, m[1]).StatusCode, m[1])
	}
}

func TestWithoutTheBuiltPageTheRootSaysHowToGetIt(t *testing.T) {
	p, err := newPage(fstest.MapFS{})
	require.NoError(t, err)
	require.False(t, p.Built())
	require.Contains(t, body(t, get(p, "/")), "make build")
	_, err = fs.Stat(built, "dist/README")
	require.NoError(t, err, "without it a fresh clone does not compile")
}
