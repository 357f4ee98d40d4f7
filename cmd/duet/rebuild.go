package main

import (
	"fmt"
	"time"

	"github.com/duet-video/duet/internal/nodepb"
)

// rebuildView is how far a recorder is with making an index anew from the media.
type rebuildView struct {
	Path         string     `json:"path"`
	Segments     uint64     `json:"segments"`
	SegmentsDone uint64     `json:"segmentsDone"`
	CompleteFrom *time.Time `json:"completeFrom,omitempty"`
	Remaining    float64    `json:"remainingSeconds"` // 0: not known
}

func rebuildOf(path string, a *nodepb.Adoption) rebuildView {
	return rebuildView{
		Path: path, Segments: a.GetSegments(), SegmentsDone: a.GetSegmentsDone(), CompleteFrom: instant(a.GetCompleteFromNs()),
		Remaining: time.Duration(a.GetRemainingNs()).Seconds(),
	}
}

func (r *rebuildView) String() string {
	s := fmt.Sprintf("the index of %s is being made anew from the media, %d of %d segments are done", r.Path, r.SegmentsDone, r.Segments)
	if r.Remaining > 0 {
		s += fmt.Sprintf(", about %s to go", max(time.Duration(r.Remaining*float64(time.Second)).Round(time.Second), time.Second))
	}
	return s + "; it records meanwhile"
}
