package camsim

import (
	"fmt"
	"slices"
	"time"

	"github.com/duet-video/duet/bench/ledger"
)

// Clip is a built-in clip of H.264 or H.265, for cameras that are simulated elsewhere.
type Clip struct {
	Codec ledger.Codec
	// Sets are the parameter sets: H.264 SPS, PPS; H.265 VPS, SPS, PPS.
	Sets     [][]byte
	Frames   []ClipFrame
	Duration time.Duration
}

// ClipFrame is an access unit, in the order of decoding. The slices must not be changed.
type ClipFrame struct {
	NALUs           [][]byte // without parameter sets
	Key             bool
	Decode, Present time.Duration // since the start of the clip; Present ≥ Decode
}

// VideoClip returns the clip of that name, see VideoClips.
func VideoClip(name string) (*Clip, error) {
	c, err := make(library).embedded(name)
	if err != nil {
		return nil, err
	}
	if c.codec != ledger.H264 && c.codec != ledger.H265 {
		return nil, fmt.Errorf("clip %s: it is %s, want H.264 or H.265", name, c.codec)
	}
	out := &Clip{Codec: c.codec, Sets: slices.Clone(c.sets), Duration: c.duration}
	for _, f := range c.frames {
		out.Frames = append(out.Frames, ClipFrame{NALUs: f.nalus, Key: f.key, Decode: f.decode, Present: f.present})
	}
	return out, nil
}
