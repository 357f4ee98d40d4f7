package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed all:dist
var built embed.FS

// Page is the files of the page, ready to be sent.
type Page struct {
	files map[string]*file // by URL path
	index *file
}

type file struct {
	contentType string
	plain, gzip []byte // gzip is nil where it saves nothing
	etag        string
	immutable   bool // the name has a hash of the content
}

// types are those of the files that a build makes. The machine's own table is not asked:
// it differs, and a script of the wrong type is not run.
var types = map[string]string{
	".html":        "text/html; charset=utf-8",
	".js":          "text/javascript; charset=utf-8",
	".css":         "text/css; charset=utf-8",
	".svg":         "image/svg+xml",
	".png":         "image/png",
	".json":        "application/json",
	".txt":         "text/plain; charset=utf-8",
	".webmanifest": "application/manifest+json",
}

// policy lets the page load from its own node alone. Media is played from buffers that the
// page fills (blob:). Scripts and styles are files: nothing that is inline runs.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; " +
	"connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"

// New reads the embedded page.
func New() (*Page, error) {
	sub, err := fs.Sub(built, "dist/page")
	if err != nil {
		return nil, fmt.Errorf("open the embedded page: %w", err)
	}
	return newPage(sub)
}

func newPage(from fs.FS) (*Page, error) {
	p := &Page{files: make(map[string]*file)}
	err := fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		p.files["/"+name], err = newFile(name, b)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the embedded page: %w", err)
	}
	p.index = p.files["/index.html"]
	return p, nil
}

func newFile(name string, b []byte) (*file, error) {
	f := &file{contentType: types[path.Ext(name)], plain: b, immutable: strings.HasPrefix(name, "assets/")}
	if f.contentType == "" {
		f.contentType = "application/octet-stream"
	}
	sum := sha256.Sum256(b)
	f.etag = strconv.Quote(hex.EncodeToString(sum[:12]))
	var z bytes.Buffer
	w, err := gzip.NewWriterLevel(&z, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if z.Len() < len(b)*9/10 {
		f.gzip = z.Bytes()
	}
	return f, nil
}

// Built says whether the program was built with the page.
func (p *Page) Built() bool { return p.index != nil }

// Has says whether the page answers r: a file of it, or an address in it that a browser
// goes to. Everything below /v1/ is the API's, and a program that does not ask for HTML
// gets the API's answer to a path that does not exist.
func (p *Page) Has(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || strings.HasPrefix(r.URL.Path, "/v1/") {
		return false
	}
	return p.files[r.URL.Path] != nil || r.URL.Path == "/" || isPlace(r) && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// isPlace says whether r asks for an address in the page: its last part has no extension,
// or is a camera, whose name may have a dot in it.
func isPlace(r *http.Request) bool {
	return path.Ext(r.URL.Path) == "" || strings.HasPrefix(r.URL.Path, "/watch/")
}

// ServeHTTP answers a request that the page has.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
	f := p.files[r.URL.Path]
	if f == nil {
		f = p.index
	}
	if f == nil {
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		_, _ = w.Write([]byte(unbuilt)) // the client may be gone
		return
	}
	h.Set("Content-Type", f.contentType)
	h.Set("ETag", f.etag)
	h.Set("Cache-Control", "no-cache")
	if f.immutable {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	body := f.plain
	if f.gzip != nil {
		h.Set("Vary", "Accept-Encoding")
		if acceptsGzip(r.Header.Get("Accept-Encoding")) {
			h.Set("Content-Encoding", "gzip")
			h.Set("ETag", "W/"+f.etag)
			body = f.gzip
		}
	}
	if strings.TrimPrefix(r.Header.Get("If-None-Match"), "W/") == f.etag {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client may be gone
	}
}

// acceptsGzip reads Accept-Encoding (RFC 9110 12.5.3) as far as browsers write it.
func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			q := strings.TrimSpace(weight)
			return q != "q=0" && q != "q=0.0" && q != "q=0.00" && q != "q=0.000"
		}
	}
	return false
}

// unbuilt is served where the page was left out of the build.
const unbuilt = `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>duet</title>
<h1>duet</h1>
<p>This program was built without its page. <code>make build</code> builds both, where Node.js 18 or newer and npm are installed.</p>
<p>The API is complete: <a href="/v1/cameras">/v1/cameras</a>, <a href="/openapi.json">/openapi.json</a>.</p>
</html>
`
