package supervise

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// maxLine bounds what a child may say without a line end.
const maxLine = 16 << 10

// prefixer puts names in front of lines, so that those of several children can share
// an output.
type prefixer struct {
	mu    sync.Mutex
	out   io.Writer
	width int
}

func newPrefixer(out io.Writer, children []Child) *prefixer {
	p := &prefixer{out: out}
	for _, c := range children {
		p.width = max(p.width, len(c.Name))
	}
	return p
}

func (p *prefixer) writer(name string) io.Writer {
	return &lineWriter{p: p, prefix: fmt.Appendf(nil, "%-*s │ ", p.width, name)}
}

// lineWriter is used by one goroutine (os/exec's) at a time.
type lineWriter struct {
	p      *prefixer
	prefix []byte
	rest   []byte // a line that is not whole yet
}

// Write passes on whole lines. It never fails: a full disk under the output must not
// end a child.
func (w *lineWriter) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		switch {
		case i < 0 && len(w.rest) <= maxLine:
			return len(b), nil
		case i < 0:
			i = maxLine
		}
		line := append(append([]byte(nil), w.prefix...), bytes.TrimRight(w.rest[:i], "\r")...)
		w.p.mu.Lock()
		_, _ = w.p.out.Write(append(line, '\n'))
		w.p.mu.Unlock()
		w.rest = append(w.rest[:0], bytes.TrimPrefix(w.rest[i:], []byte("\n"))...)
	}
}
