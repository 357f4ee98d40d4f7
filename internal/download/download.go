package download

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Options say what is saved.
type Options struct {
	URL string
	// File is written at the end, in one step; until then File.part holds the bytes
	// and File.part.json says of what.
	File string
	// Request names what the user asked for. A part that was begun for the same
	// request within SameFor is gone on with, at the URL that it was begun with; one
	// of the same URL always is.
	Request string
	SameFor time.Duration
	// Client; nil: one without an overall time limit.
	Client *http.Client
	// Retries is how many times in a row nothing may be got before it is given up. 0: 8.
	Retries int
	// FirstWait is the pause after the first failure; it doubles. 0: 500 ms.
	FirstWait time.Duration
	// Progress is told the bytes that are there and the total, often. May be nil.
	Progress func(done, total int64)
	// Answered is given the header of each answer that is good. May be nil.
	Answered func(http.Header)
	// Retrying is told why, before each pause. May be nil.
	Retrying func(err error, wait time.Duration)
}

// part is what File.part.json holds.
type part struct {
	Request string    `json:"request"`
	URL     string    `json:"url"`
	ETag    string    `json:"etag"`
	Begun   time.Time `json:"begun"`
}

// errFinal marks what a retry would not change.
type errFinal struct{ error }

func (e errFinal) Unwrap() error { return e.error }

// Fetch saves the URL and returns the length of the file. When ctx ends, what is there
// stays for the next call.
func Fetch(ctx context.Context, o Options) (int64, error) {
	if o.Client == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.ResponseHeaderTimeout = 30 * time.Second
		defer t.CloseIdleConnections()
		o.Client = &http.Client{Transport: t}
	}
	if o.Retries <= 0 {
		o.Retries = 8
	}
	f := &fetch{o: o, part: o.File + ".part", meta: o.File + ".part.json"}
	if err := f.open(); err != nil {
		return 0, err
	}
	defer f.file.Close() // closed with its error checked, when it matters
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.Multiplier, wait.MaxInterval = 500*time.Millisecond, 2, 15*time.Second
	if o.FirstWait > 0 {
		wait.InitialInterval = o.FirstWait
	}
	wait.Reset()
	for failed := 0; ; {
		before := f.done
		err := f.get(ctx)
		if err == nil {
			return f.done, f.finish()
		}
		if final := (errFinal{}); errors.As(err, &final) || ctx.Err() != nil {
			return f.done, errors.Join(final.error, ctx.Err())
		}
		if failed++; f.done > before {
			failed = 1
			wait.Reset()
		}
		if failed > o.Retries {
			return f.done, err
		}
		pause := wait.NextBackOff()
		if o.Retrying != nil {
			o.Retrying(err, pause)
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return f.done, ctx.Err()
		}
	}
}

type fetch struct {
	o          Options
	part, meta string
	state      part
	file       *os.File
	done       int64 // bytes in file
	total      int64 // 0: not known yet
}

// open takes up an earlier part, or begins a new one.
func (f *fetch) open() error {
	var old part
	b, err := os.ReadFile(f.meta)
	same := err == nil && json.Unmarshal(b, &old) == nil && old.ETag != "" &&
		(old.URL == f.o.URL || old.Request == f.o.Request && time.Since(old.Begun) < f.o.SameFor)
	flags := os.O_RDWR | os.O_CREATE
	if same {
		f.state = old
	} else {
		f.state = part{Request: f.o.Request, URL: f.o.URL, Begun: time.Now().UTC()}
		flags |= os.O_TRUNC
	}
	f.file, err = os.OpenFile(f.part, flags, 0o644)
	if err != nil {
		return err
	}
	f.done, err = f.file.Seek(0, io.SeekEnd)
	return err
}

func (f *fetch) get(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.state.URL, http.NoBody)
	if err != nil {
		return errFinal{err}
	}
	if f.done > 0 && f.state.ETag != "" {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", f.done))
		req.Header.Set("If-Range", f.state.ETag)
	}
	resp, err := f.o.Client.Do(req)
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) { // without the URL, which is long
			err = fmt.Errorf("reach %s: %w", req.URL.Host, u.Err)
		}
		return err
	}
	defer resp.Body.Close()
	if err := f.accept(resp); err != nil {
		return err
	}
	if f.o.Answered != nil {
		f.o.Answered(resp.Header)
	}
	if f.done == f.total {
		return nil
	}
	return f.copy(resp.Body)
}

// accept looks at the head of the answer and puts the file where the body goes on.
func (f *fetch) accept(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusOK: // from the start: new, or not the same any more
		if resp.ContentLength < 0 {
			return errFinal{errors.New("the server does not say how long it is")}
		}
		f.total = resp.ContentLength
		return f.begin(resp.Header.Get("ETag"))
	case http.StatusPartialContent:
		first, total, err := contentRange(resp.Header.Get("Content-Range"))
		if err != nil || first != f.done {
			return errFinal{fmt.Errorf("the server sent %q when asked from byte %d on", resp.Header.Get("Content-Range"), f.done)}
		}
		f.total = total
		return nil
	case http.StatusRequestedRangeNotSatisfiable: // nothing is missing, or it is not the same any more
		if _, total, err := contentRange(resp.Header.Get("Content-Range")); err == nil && total == f.done {
			f.total = total
			return nil
		}
		return errors.Join(f.begin(""), errors.New("it has changed and is begun anew"))
	}
	err := errors.New(problemText(resp))
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
		return err
	}
	return errFinal{err}
}

func (f *fetch) begin(etag string) error {
	f.done = 0
	f.state.ETag = etag
	if err := f.file.Truncate(0); err != nil {
		return errFinal{err}
	}
	if _, err := f.file.Seek(0, io.SeekStart); err != nil {
		return errFinal{err}
	}
	b, err := json.Marshal(f.state)
	if err == nil {
		err = os.WriteFile(f.meta, append(b, '\n'), 0o644)
	}
	if err != nil {
		return errFinal{err}
	}
	return nil
}

func (f *fetch) copy(body io.Reader) error {
	buf := make([]byte, 256<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if f.done+int64(n) > f.total {
				return errFinal{fmt.Errorf("the server sent more than the %d bytes that it announced", f.total)}
			}
			if _, err := f.file.Write(buf[:n]); err != nil {
				return errFinal{err}
			}
			f.done += int64(n)
			if f.o.Progress != nil {
				f.o.Progress(f.done, f.total)
			}
		}
		switch {
		case errors.Is(err, io.EOF) && f.done == f.total:
			return nil
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
}

// finish makes the file durable under its name.
func (f *fetch) finish() error {
	if err := f.file.Sync(); err != nil {
		return err
	}
	if err := f.file.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.part, f.o.File); err != nil {
		return err
	}
	_ = os.Remove(f.meta)
	d, err := os.Open(filepath.Dir(f.o.File))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// contentRange reads "bytes 5-9/10" and "bytes */10" (RFC 9110 14.4).
func contentRange(s string) (first, total int64, err error) {
	span, all, ok := strings.Cut(strings.TrimPrefix(s, "bytes "), "/")
	if !ok {
		return 0, 0, fmt.Errorf("content range %q", s)
	}
	if total, err = strconv.ParseInt(all, 10, 64); err != nil || total < 0 {
		return 0, 0, fmt.Errorf("content range %q: no total", s)
	}
	if span == "*" {
		return 0, total, nil
	}
	from, _, _ := strings.Cut(span, "-")
	first, err = strconv.ParseInt(from, 10, 64)
	if err != nil || first < 0 {
		return 0, 0, fmt.Errorf("content range %q: no start", s)
	}
	return first, total, nil
}

// problemText says why the server refused, in its own words where it has some (RFC 9457).
func problemText(resp *http.Response) string {
	const most = 64 << 10
	b, _ := io.ReadAll(io.LimitReader(resp.Body, most))
	var p struct{ Title, Detail string }
	if json.Unmarshal(b, &p) == nil && p.Title+p.Detail != "" {
		return strings.Trim(p.Title+": "+p.Detail, ": ")
	}
	return resp.Status
}
