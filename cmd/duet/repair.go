package main

import (
	"fmt"
	"time"

	"github.com/duet-video/duet/internal/nodepb"
)

// repairView is what a copy lacks of what other recorders hold.
type repairView struct {
	Fragments uint64  `json:"lackingFragments"`
	Bytes     uint64  `json:"lackingBytes"`
	Rate      uint64  `json:"bytesPerSecond"`
	Remaining float64 `json:"remainingSeconds"` // 0: not known
	Stopped   string  `json:"stopped,omitempty"`
}

// repairOf returns what there is to tell; nil: nothing is lacking.
func repairOf(s *nodepb.RepairState) *repairView {
	if s.GetLackingFragments() == 0 && s.GetLackingBytes() == 0 {
		return nil
	}
	return &repairView{
		Fragments: s.GetLackingFragments(), Bytes: s.GetLackingBytes(), Rate: s.GetBytesPerSecond(),
		Remaining: time.Duration(s.GetRemainingNs()).Seconds(), Stopped: s.GetStopped(),
	}
}

// complete sets up to when both copies hold the same.
func (c *cameraView) complete(spare bool) {
	if spare || len(c.Copies) < 2 {
		return
	}
	until := c.Copies[0].Complete
	for _, cp := range c.Copies {
		if cp.Complete == nil {
			return
		}
		if cp.Complete.Before(*until) {
			until = cp.Complete
		}
	}
	c.Complete = until
}

// repairs says in words what the copies of a camera lack.
func (c *cameraView) repairs() (lines string) {
	for _, cp := range c.Copies {
		r := cp.Repair
		if r == nil {
			continue
		}
		how := "is about to copy them"
		switch {
		case r.Stopped != "":
			how = "waits: " + r.Stopped
		case r.Rate > 0:
			how = fmt.Sprintf("copies them at %s/s, about %s to go", size(r.Rate),
				max(time.Duration(r.Remaining*float64(time.Second)).Round(time.Second), time.Second))
		}
		lines += fmt.Sprintf("%s: %s lacks %d fragments, %s, that another recorder has, and %s\n", c.Name, cp.Recorder, r.Fragments, size(r.Bytes), how)
	}
	return lines
}
