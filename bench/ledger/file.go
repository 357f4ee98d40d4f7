package ledger

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
)

// Writer appends to a ledger file. Its methods may be called concurrently; the first
// error is kept and returned by every later call.
type Writer struct {
	mu   sync.Mutex
	file *os.File
	buf  *bufio.Writer
	line []byte
	err  error
}

// Create makes the file, which must not exist, and writes the header.
func Create(path string, h Header) (*Writer, error) {
	h.Format = 1
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create the ledger of camera %s: %w", h.Camera, err)
	}
	w := &Writer{file: f, buf: bufio.NewWriterSize(f, 1<<16)}
	if err := errors.Join(w.json(h), w.Flush()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return w, nil
}

func (w *Writer) json(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.write(append(b, '\n'))
}

// write appends a line; w.mu is held.
func (w *Writer) write(line []byte) error {
	if w.err == nil {
		if _, err := w.buf.Write(line); err != nil {
			w.err = fmt.Errorf("write ledger %s: %w", w.file.Name(), err)
		}
	}
	return w.err
}

// Event appends an event.
func (w *Writer) Event(e Event) error { return w.json(e) }

// Entry appends an entry: by hand, because a load test writes thousands a second.
func (w *Writer) Entry(e *Entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := append(w.line[:0], `{"t":`...)
	b = strconv.AppendInt(b, int64(e.Track), 10)
	b = append(b, `,"n":`...)
	b = strconv.AppendUint(b, e.Number, 10)
	b = append(b, `,"h":"`...)
	b = hex.AppendEncode(b, e.Hash[:])
	b = append(b, `","size":`...)
	b = strconv.AppendInt(b, int64(e.Size), 10)
	b = append(b, `,"at":`...)
	b = strconv.AppendInt(b, e.AtNS, 10)
	b = append(b, `,"rtp":`...)
	b = strconv.AppendUint(b, uint64(e.RTP), 10)
	if e.Key {
		b = append(b, `,"key":true`...)
	}
	if len(e.Sent) > 0 {
		b = append(b, `,"sent":[`...)
		for i, s := range e.Sent {
			if i > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendQuote(b, s)
		}
		b = append(b, ']')
	}
	if e.Lost > 0 {
		b = append(b, `,"lost":`...)
		b = strconv.AppendInt(b, int64(e.Lost), 10)
	}
	b = append(b, '}', '\n')
	w.line = b
	return w.write(b)
}

// Flush hands what is buffered to the operating system.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		if err := w.buf.Flush(); err != nil {
			w.err = fmt.Errorf("write ledger %s: %w", w.file.Name(), err)
		}
	}
	return w.err
}

// Close flushes and closes the file.
func (w *Writer) Close() error { return errors.Join(w.Flush(), w.file.Close()) }

// Ledger is a whole ledger.
type Ledger struct {
	Header
	// Entries of each track, by number: Entries[t][i].Number == Entries[t][0].Number + i.
	Entries [][]Entry
	Events  []Event
}

// ReadFile reads a ledger, which may still be growing.
func ReadFile(path string) (*Ledger, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read ledger: %w", err)
	}
	defer f.Close()
	l, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("read ledger %s: %w", path, err)
	}
	return l, nil
}

// Read reads a ledger up to its last whole line.
func Read(r io.Reader) (*Ledger, error) {
	br := bufio.NewReaderSize(r, 1<<16)
	l := &Ledger{}
	for n := 1; ; n++ {
		line, err := br.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			if l.Format == 0 {
				return nil, errors.New("it has no header")
			}
			return l, nil
		}
		if err != nil {
			return nil, err
		}
		if err := l.add(line, n == 1); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
}

func (l *Ledger) add(line []byte, first bool) error {
	if first {
		if err := json.Unmarshal(line, &l.Header); err != nil {
			return err
		}
		if l.Format != 1 {
			return fmt.Errorf("format %d is not known", l.Format)
		}
		l.Entries = make([][]Entry, len(l.Tracks))
		return nil
	}
	if bytes.HasPrefix(line, []byte(`{"event"`)) {
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		l.Events = append(l.Events, e)
		return nil
	}
	var e Entry
	if err := json.Unmarshal(line, &e); err != nil {
		return err
	}
	if e.Track < 0 || e.Track >= len(l.Tracks) {
		return fmt.Errorf("track %d of %d", e.Track, len(l.Tracks))
	}
	t := l.Entries[e.Track]
	if len(t) > 0 && e.Number != t[len(t)-1].Number+1 {
		return fmt.Errorf("track %d: number %d follows %d", e.Track, e.Number, t[len(t)-1].Number)
	}
	l.Entries[e.Track] = append(t, e)
	return nil
}

// Find returns the entry with the number, or nil.
func (l *Ledger) Find(track int, number uint64) *Entry {
	t := l.Entries[track]
	if len(t) == 0 || number < t[0].Number || number-t[0].Number >= uint64(len(t)) {
		return nil
	}
	return &t[number-t[0].Number]
}

// TrackOf returns the first track with the codec, or -1.
func (l *Ledger) TrackOf(c Codec) int {
	for i, t := range l.Tracks {
		if t.Codec == c {
			return i
		}
	}
	return -1
}
