package recorder

import (
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/duet-video/duet/internal/record"
)

const (
	dateForm    = "2006-01-02"
	timeForm    = "15-04-05.000Z"
	segmentExt  = ".mp4"
	maxSiblings = 1000
)

// segmentPath names the segment of a camera whose first fragment starts at startNS,
// below the data directory. sibling is 0 but for a file that takes the place of a
// condemned one that began with the same fragment.
func segmentPath(camera string, startNS int64, epoch record.Epoch, sibling int) string {
	t := time.Unix(0, startNS).UTC()
	name := t.Format(timeForm) + "_" + epoch.String()
	if sibling > 0 {
		name += fmt.Sprintf("~%d", sibling)
	}
	return path.Join(camera, t.Format(dateForm), name+segmentExt)
}

// segmentName is what a segment's path says.
type segmentName struct {
	camera  string
	startMS int64 // Unix ms
	epoch   record.Epoch
}

// parseSegmentPath reads what segmentPath writes; false for any other file.
func parseSegmentPath(p string) (segmentName, bool) {
	parts := strings.Split(p, "/")
	if len(parts) != 3 || !nameForm.MatchString(parts[0]) {
		return segmentName{}, false
	}
	base, ok := strings.CutSuffix(parts[2], segmentExt)
	if !ok {
		return segmentName{}, false
	}
	clock, epochText, ok := strings.Cut(base, "_")
	if !ok {
		return segmentName{}, false
	}
	sibling := 0
	if e, n, ok := strings.Cut(epochText, "~"); ok {
		if _, err := fmt.Sscanf(n, "%d", &sibling); err != nil {
			return segmentName{}, false
		}
		epochText = e
	}
	epoch, err := record.ParseEpoch(epochText)
	if err != nil {
		return segmentName{}, false
	}
	t, err := time.ParseInLocation(dateForm+" "+timeForm, parts[1]+" "+clock, time.UTC)
	if err != nil || segmentPath(parts[0], t.UnixNano(), epoch, sibling) != p {
		return segmentName{}, false
	}
	return segmentName{camera: parts[0], startMS: t.UnixMilli(), epoch: epoch}, true
}

// isDate reports whether a directory below a camera's is one of segments.
func isDate(name string) bool {
	t, err := time.Parse(dateForm, name)
	return err == nil && t.Format(dateForm) == name
}
