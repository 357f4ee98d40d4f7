package playback

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// hlsForm says how a list is written.
type hlsForm struct {
	// kind is VOD or EVENT; empty: live.
	kind  string
	ended bool
	// target is the longest segment in seconds.
	target int
	// sequence and breaks are the numbers of the first item.
	sequence, breaks int64
	// startNS is where to begin to play; 0: as the player likes.
	startNS int64
	// media is where media is, relative to the playlist.
	media string
	// block: the server can hold a request back until there is more.
	block bool
	notes []string
}

// pdtForm is a time of EXT-X-PROGRAM-DATE-TIME, which players read to the millisecond.
const pdtForm = "2006-01-02T15:04:05.000Z"

// write writes the playlist (RFC 8216, and 8216bis for what is newer).
func (l *hlsList) write(out io.Writer, f *hlsForm) error {
	w := bufio.NewWriterSize(out, 64<<10)
	version := 7
	for i := range l.items {
		if l.items[i].gap {
			version = 8
			break
		}
	}
	fmt.Fprintf(w, "#EXTM3U\n#EXT-X-VERSION:%d\n#EXT-X-TARGETDURATION:%d\n", version, f.target)
	if f.block {
		fmt.Fprintf(w, "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,HOLD-BACK=%d.0\n", 3*f.target)
	}
	fmt.Fprintf(w, "#EXT-X-MEDIA-SEQUENCE:%d\n", f.sequence)
	if f.breaks > 0 {
		fmt.Fprintf(w, "#EXT-X-DISCONTINUITY-SEQUENCE:%d\n", f.breaks)
	}
	if f.kind != "" {
		fmt.Fprintf(w, "#EXT-X-PLAYLIST-TYPE:%s\n", f.kind)
	}
	if l.independent() {
		fmt.Fprintf(w, "#EXT-X-INDEPENDENT-SEGMENTS\n")
	}
	if at, ok := l.offset(f.startNS); ok {
		fmt.Fprintf(w, "#EXT-X-START:TIME-OFFSET=%s,PRECISE=YES\n", seconds(at))
	}
	for _, n := range f.notes {
		fmt.Fprintf(w, "# %s\n", strings.ReplaceAll(n, "\n", " "))
	}
	l.writeItems(w, f.media)
	if f.ended {
		fmt.Fprintf(w, "#EXT-X-ENDLIST\n")
	}
	return w.Flush() // a bufio.Writer keeps the first error
}

func (l *hlsList) writeItems(w *bufio.Writer, where string) {
	line := make([]byte, 0, 512)
	init := int64(-1)
	for i := range l.items {
		it := &l.items[i]
		line = line[:0]
		if it.broken {
			line = append(line, "#EXT-X-DISCONTINUITY\n"...)
		}
		if !it.gap && int64(it.init) != init {
			init = int64(it.init)
			line = append(append(line, `#EXT-X-MAP:URI="`...), where...)
			line = base64.RawURLEncoding.AppendEncode(line, l.inits[it.init][:])
			line = append(line, "/init.mp4\"\n"...)
		}
		if it.gap {
			line = append(line, "#EXT-X-GAP\n"...)
		}
		line = append(line, "#EXT-X-PROGRAM-DATE-TIME:"...)
		line = time.Unix(0, it.startNS).UTC().AppendFormat(line, pdtForm)
		line = append(line, "\n#EXTINF:"...)
		line = append(line, seconds(it.endNS-it.startNS)...)
		line = append(append(line, ",\n"...), where...)
		if it.gap {
			line = append(line, "gap.m4s\n"...)
		} else {
			line = base64.RawURLEncoding.AppendEncode(line, l.inits[it.init][:])
			line = append(append(append(line, '/'), l.epochs[it.epoch].String()...), '/')
			line = append(appendSegmentName(line, it), '\n')
		}
		_, _ = w.Write(line)
	}
}

// independent reports whether each segment can be decoded alone.
func (l *hlsList) independent() bool {
	for i := range l.items {
		if l.items[i].dependent {
			return false
		}
	}
	return true
}

// offset is where a time is in the playlist: not in a gap, but after it. False: it is at
// its start, or not in it.
func (l *hlsList) offset(ns int64) (int64, bool) {
	at := int64(0)
	for i := range l.items {
		it := &l.items[i]
		if !it.gap && ns < it.endNS {
			if at += max(ns-it.startNS, 0); at <= int64(time.Millisecond) {
				return 0, false
			}
			return at, ns > 0
		}
		at += it.endNS - it.startNS
	}
	return 0, false
}

// seconds writes a duration as seconds, to the microsecond.
func seconds(ns int64) string {
	us := (ns + 500) / 1000
	return fmt.Sprintf("%d.%06d", us/1e6, us%1e6)
}

const segmentSuffix = ".m4s"

// appendSegmentName appends the name of the file of a fragment: all that is needed to get
// it from a recorder, so that no index is asked, and so that it is the same for ever.
func appendSegmentName(b []byte, it *hlsItem) []byte {
	b = strconv.AppendUint(b, it.first, 36)
	b = strconv.AppendInt(append(b, '.'), it.startNS, 36)
	b = strconv.AppendInt(append(b, '.'), it.startNS-it.windowNS, 36)
	b = base64.RawURLEncoding.AppendEncode(append(b, '.'), it.hash[:])
	return append(b, segmentSuffix...)
}

var errSegmentName = errors.New("not the name of a segment")

// parseSegment reads the name that appendSegmentName makes, with the epoch.
func parseSegment(epoch, name string) (it hlsItem, e record.Epoch, err error) {
	if e, err = record.ParseEpoch(epoch); err != nil {
		return it, e, err
	}
	name, ok := strings.CutSuffix(name, segmentSuffix)
	parts := strings.Split(name, ".")
	if !ok || len(parts) != 4 {
		return it, e, errSegmentName
	}
	first, err1 := strconv.ParseUint(parts[0], 36, 64)
	start, err2 := strconv.ParseInt(parts[1], 36, 64)
	back, err3 := strconv.ParseInt(parts[2], 36, 64)
	if it.hash, err = parseHash(parts[3]); errors.Join(err, err1, err2, err3) != nil || start <= 0 || back > start || back < -maxSegmentBack || back > maxSegmentBack {
		return it, e, errSegmentName
	}
	it.first, it.startNS, it.windowNS = first, start, start-back
	return it, e, nil
}

// maxSegmentBack bounds how far a fragment is from the start of its segment window.
const maxSegmentBack = int64(48 * time.Hour)

func parseHash(text string) (h media.Hash, err error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != len(h) {
		return h, errSegmentName
	}
	return media.Hash(b), nil
}
