package download

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server serves content, but breaks the connection after cut bytes as long as there are cuts.
type server struct {
	content []byte
	etag    string
	cuts    []int
	hold    int // send so many bytes, and then nothing until the client goes
	refuse  func(http.ResponseWriter) bool
	ranges  []string
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.ranges = append(s.ranges, r.Header.Get("Range"))
	if s.refuse != nil && s.refuse(w) {
		return
	}
	w.Header().Set("ETag", s.etag)
	if s.hold > 0 {
		w.Header().Set("Content-Length", fmt.Sprint(len(s.content)))
		_, _ = w.Write(s.content[:s.hold])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
	if len(s.cuts) > 0 {
		w = &cutter{ResponseWriter: w, left: s.cuts[0]}
		s.cuts = s.cuts[1:]
	}
	http.ServeContent(w, r, "x.mp4", time.Time{}, bytes.NewReader(s.content))
}

type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(b []byte) (int, error) {
	if len(b) >= c.left {
		_, _ = c.ResponseWriter.Write(b[:c.left])
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(b)
	return c.ResponseWriter.Write(b)
}

func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

func start(t *testing.T, s *server) Options {
	t.Helper()
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	c := h.Client()
	t.Cleanup(c.CloseIdleConnections)
	return Options{URL: h.URL + "/x", File: filepath.Join(t.TempDir(), "out.mp4"), Client: c, FirstWait: time.Millisecond, Request: "r"}
}

func requireFile(t *testing.T, o Options, want []byte) {
	t.Helper()
	got, err := os.ReadFile(o.File)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
	left, err := filepath.Glob(o.File + ".part*")
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestBrokenConnectionsAreGoneOnWithAtTheByte(t *testing.T) {
	s := &server{content: content(1 << 20), etag: `"a"`, cuts: []int{100, 300_000, 1}}
	o := start(t, s)
	n, err := Fetch(t.Context(), o)
	require.NoError(t, err)
	require.EqualValues(t, len(s.content), n)
	requireFile(t, o, s.content)
	require.Len(t, s.ranges, 4)
	require.Empty(t, s.ranges[0])
	require.Equal(t, "bytes=100-", s.ranges[1])
	require.Equal(t, "bytes=300100-", s.ranges[2])
}

func TestInterruptedFileIsGoneOnWithByTheNextCall(t *testing.T) {
	s := &server{content: content(1 << 20), etag: `"a"`, hold: 1000}
	o := start(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	o.Progress = func(done, _ int64) {
		if done >= 1000 {
			cancel()
		}
	}
	_, err := Fetch(ctx, o)
	require.ErrorIs(t, err, context.Canceled)
	_, err = os.Stat(o.File)
	require.ErrorIs(t, err, os.ErrNotExist, "the name appears only when it is whole")
	st, err := os.Stat(o.File + ".part")
	require.NoError(t, err)
	require.Equal(t, int64(1000), st.Size())

	o.Progress, s.hold = nil, 0
	_, err = Fetch(t.Context(), o)
	require.NoError(t, err)
	requireFile(t, o, s.content)
	require.Equal(t, fmt.Sprintf("bytes=%d-", st.Size()), s.ranges[len(s.ranges)-1])
}

func TestWhatHasChangedIsBegunAnew(t *testing.T) {
	s := &server{content: content(10_000), etag: `"a"`, cuts: []int{5000}}
	o := start(t, s)
	o.Retrying = func(error, time.Duration) { s.etag, s.content = `"b"`, bytes.Repeat([]byte("new"), 4000) }
	_, err := Fetch(t.Context(), o)
	require.NoError(t, err)
	requireFile(t, o, s.content)
}

func TestWholePartNeedsNoByteMore(t *testing.T) {
	s := &server{content: content(500), etag: `"a"`}
	o := start(t, s)
	require.NoError(t, os.WriteFile(o.File+".part", s.content, 0o600))
	require.NoError(t, os.WriteFile(o.File+".part.json", fmt.Appendf(nil, `{"url":%q,"etag":"\"a\""}`, o.URL), 0o600))
	_, err := Fetch(t.Context(), o)
	require.NoError(t, err)
	requireFile(t, o, s.content)
	require.Equal(t, []string{"bytes=500-"}, s.ranges)
}

func TestPartOfAnotherRequestIsNotGoneOnWith(t *testing.T) {
	for name, tc := range map[string]struct {
		request string
		begun   time.Time
		resumed bool
	}{
		"the same, just now": {"r", time.Now(), true},
		"the same, long ago": {"r", time.Now().Add(-time.Hour), false},
		"another, just now":  {"other", time.Now(), false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &server{content: content(500), etag: `"a"`}
			o := start(t, s)
			o.SameFor = time.Minute
			require.NoError(t, os.WriteFile(o.File+".part", s.content[:100], 0o600))
			meta := fmt.Sprintf(`{"request":%q,"url":%q,"etag":"\"a\"","begun":%q}`, tc.request, o.URL+"?older", tc.begun.Format(time.RFC3339Nano))
			require.NoError(t, os.WriteFile(o.File+".part.json", []byte(meta), 0o600))
			_, err := Fetch(t.Context(), o)
			require.NoError(t, err)
			requireFile(t, o, s.content)
			require.Equal(t, tc.resumed, s.ranges[0] != "")
		})
	}
}

func TestRefusalIsToldInTheServersWordsAndNotRetried(t *testing.T) {
	s := &server{refuse: func(w http.ResponseWriter) bool {
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"title":"No such camera","detail":"There is no camera gaet."}`))
		return true
	}}
	o := start(t, s)
	_, err := Fetch(t.Context(), o)
	require.EqualError(t, err, "No such camera: There is no camera gaet.")
	require.Len(t, s.ranges, 1)
}

func TestServerThatStaysDownIsGivenUp(t *testing.T) {
	s := &server{refuse: func(w http.ResponseWriter) bool { w.WriteHeader(http.StatusServiceUnavailable); return true }}
	o := start(t, s)
	o.Retries = 3
	var waits []time.Duration
	o.Retrying = func(_ error, d time.Duration) { waits = append(waits, d) }
	_, err := Fetch(t.Context(), o)
	require.ErrorContains(t, err, "503")
	require.Len(t, waits, 3)
}

func TestFileThatCannotBeWrittenIsAnError(t *testing.T) {
	s := &server{content: content(10), etag: `"a"`}
	o := start(t, s)
	o.File = filepath.Join(t.TempDir(), "no", "such", "folder.mp4")
	_, err := Fetch(t.Context(), o)
	require.True(t, errors.Is(err, os.ErrNotExist), err)
	require.Empty(t, strings.Join(s.ranges, ""))
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 5-9/10")
	f.Add("bytes */10")
	f.Fuzz(func(t *testing.T, s string) {
		first, total, err := contentRange(s)
		if err == nil {
			require.GreaterOrEqual(t, first, int64(0))
			require.GreaterOrEqual(t, total, int64(0))
		}
	})
}
