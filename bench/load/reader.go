package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/duet-video/duet/bench/source"
)

// Reading is what live readers have seen since they were asked to begin anew.
type Reading struct {
	Readers int   `json:"readers"` // that are connected
	Units   int64 `json:"units"`
	Packets int64 `json:"packets"`
	// Missing counts access units that did not come, Broken those of which a packet did
	// not; Reordered packets and access units that came late; Framing bytes that were
	// neither a packet nor a message; Stamps access units whose RTP timestamp does not fit.
	Missing   int64 `json:"missing"`
	Broken    int64 `json:"broken"`
	Reordered int64 `json:"reordered"`
	Framing   int64 `json:"framing"`
	Stamps    int64 `json:"stamps"`
	// Ended counts connections that the server closed.
	Ended int64 `json:"ended"`
	// Latency counts from the camera's write to the arrival of the last packet.
	Latency Latency `json:"latency"`
}

func (r *Reading) faults() int64 {
	return r.Missing + r.Broken + r.Reordered + r.Framing + r.Stamps + r.Ended
}

// readers are live readers in one process.
type readers struct {
	reorder int64 // how far an RTP timestamp may be off, in access units

	mu   sync.Mutex
	seen Reading
	h    *histogram
}

// ReadersRole reads each URL until ctx ends and tells at control what it has seen:
// GET /readers, and POST /reset begins anew. The cameras are those of package source;
// reordered says that they send B-frames.
func ReadersRole(ctx context.Context, urls []string, control string, reordered bool) error {
	rs := &readers{h: newHistogram()}
	if reordered {
		rs.reorder = 8
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readers", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(rs.reading()) // the client has gone
	})
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, _ *http.Request) {
		rs.mu.Lock()
		defer rs.mu.Unlock()
		rs.seen = Reading{Readers: rs.seen.Readers}
		rs.h = newHistogram()
		w.WriteHeader(http.StatusNoContent)
	})
	srv := &http.Server{Addr: control, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		return srv.Close()
	})
	for _, u := range urls {
		group.Go(func() error { return rs.follow(ctx, u) })
	}
	return group.Wait()
}

func (rs *readers) reading() Reading {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.seen
	r.Latency = rs.h.latency()
	return r
}

// follow reads one URL. What ends is not begun again: it was lost.
func (rs *readers) follow(ctx context.Context, url string) error {
	r := bufio.NewReaderSize(nil, 128<<10)
	var conn interface{ Close() error }
	for { // a server that has just been started may not know the camera yet
		c, err := source.Play(ctx, url, r)
		if err == nil {
			conn = c
			break
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return nil //nolint:nilerr // it was told to end
		}
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	rs.mu.Lock()
	rs.seen.Readers++
	rs.mu.Unlock()
	f := &stream{rs: rs, number: -1}
	err := f.read(r)
	if ctx.Err() != nil {
		return nil
	}
	rs.mu.Lock()
	rs.seen.Readers--
	rs.seen.Ended++
	rs.mu.Unlock()
	_ = err // it is counted
	return nil
}

// stream is what one reader knows of its stream.
type stream struct {
	rs       *readers
	begun    bool
	seq      uint16
	number   int // of the access unit that is being received; -1: none yet
	sent     time.Time
	broken   bool // a packet of it is missing
	stamp    uint32
	lastSeen time.Time
}

// ticksPerUnit of the clips, which have 25 pictures a second.
const (
	unitsPerSecond = 25
	ticksPerUnit   = 90000 / unitsPerSecond
)

// read reads packets until the connection ends. The time of arrival is that of the call
// which read the packet's last byte.
func (f *stream) read(r *bufio.Reader) error {
	for {
		waited := r.Buffered() < 4
		head, err := r.Peek(4)
		if err != nil {
			return err
		}
		if head[0] != '$' {
			if err := f.message(r); err != nil {
				return err
			}
			continue
		}
		n := 4 + int(binary.BigEndian.Uint16(head[2:]))
		waited = waited || r.Buffered() < n
		b, err := r.Peek(n)
		if err != nil {
			return err
		}
		if waited || f.lastSeen.IsZero() {
			f.lastSeen = time.Now()
		}
		if b[1] == 0 {
			f.packet(b[4:])
		}
		if _, err := r.Discard(n); err != nil {
			return err
		}
	}
}

// message skips a message of the server; what is none is broken framing.
func (f *stream) message(r *bufio.Reader) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("framing: %w", err)
	}
	if !bytes.Contains(line, []byte("RTSP/1.0")) {
		f.rs.mu.Lock()
		f.rs.seen.Framing++
		f.rs.mu.Unlock()
		return nil
	}
	for len(bytes.TrimSpace(line)) > 0 {
		if line, err = r.ReadSlice('\n'); err != nil {
			return err
		}
	}
	return nil
}

// packet looks at an RTP packet (RFC 3550 5.1).
func (f *stream) packet(b []byte) {
	if len(b) < 13 {
		return
	}
	f.rs.mu.Lock()
	defer f.rs.mu.Unlock()
	s := &f.rs.seen
	s.Packets++
	seq := binary.BigEndian.Uint16(b[2:])
	if f.begun && seq != f.seq {
		if int16(seq-f.seq) < 0 {
			s.Reordered++
		} else {
			f.broken = true
		}
	}
	f.begun, f.seq = true, seq+1
	if m, _, ok := source.FindMark(b[12:min(len(b), 120)]); ok {
		f.unit(m, binary.BigEndian.Uint32(b[4:]))
	}
	if b[1]&0x80 != 0 && f.number >= 0 { // the last packet
		s.Units++
		if f.broken {
			s.Broken++
			f.broken = false
		}
		f.rs.h.add(f.lastSeen.Sub(f.sent))
	}
}

// unit begins an access unit.
func (f *stream) unit(m source.Mark, stamp uint32) {
	s := &f.rs.seen
	if f.number >= 0 {
		step := m.Number - f.number
		switch {
		case step <= 0:
			s.Reordered++
		case step > 1:
			s.Missing += int64(step - 1)
		}
		off := int64(int32(stamp-f.stamp)) - int64(step)*ticksPerUnit
		if max(off, -off) > f.rs.reorder*ticksPerUnit {
			s.Stamps++
		}
	}
	f.number, f.sent, f.stamp = m.Number, m.Sent, stamp
}
