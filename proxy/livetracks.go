package proxy

import (
	"bytes"
	"fmt"

	"github.com/duet-video/duet/internal/media"
)

// describe takes the description of a cut. A stream whose tracks are other ones now is
// closed, with its readers, and made anew.
func (f *liveFeed) describe(ext []byte) error {
	if f.ended {
		return errNotLive
	}
	if f.stream != nil && bytes.Equal(ext, f.ext) {
		return nil
	}
	d, err := media.ParseDescription(ext)
	if err != nil {
		return fmt.Errorf("camera %s: %w", f.name, err)
	}
	if f.stream != nil && sameTracks(f.tracks, d.Tracks) {
		for i := range d.Tracks {
			f.stream.SetParams(i, d.Tracks[i].Params)
		}
	} else {
		s, err := f.open(d.Tracks)
		if err != nil {
			return fmt.Errorf("camera %s: make its live stream: %w", f.name, err)
		}
		if f.stream != nil {
			f.logger.Warn().Msg("the camera changed its tracks: live readers are closed")
			f.stream.Close()
		}
		f.stream = s
		f.history.clear()
		f.out = make([]liveTrack, len(d.Tracks))
		for i, t := range d.Tracks {
			f.out[i] = liveTrack{numbers: newRewriter(t.ClockRate, uint16(f.random()), f.random()), waits: true}
		}
		f.gated = true
	}
	f.ext, f.tracks = bytes.Clone(ext), d.Tracks
	return nil
}

// sameTracks reports whether readers of a would not notice b, but for parameter sets
// that come in the stream too.
func sameTracks(a, b []media.Track) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := &a[i], &b[i]
		if x.Kind != y.Kind || x.Codec != y.Codec || x.ClockRate != y.ClockRate ||
			x.SampleRate != y.SampleRate || x.Channels != y.Channels || x.BitDepth != y.BitDepth ||
			x.LATM != y.LATM || x.MuxConfigInBand != y.MuxConfigInBand ||
			x.SizeLength != y.SizeLength || x.IndexLength != y.IndexLength ||
			x.IndexDeltaLength != y.IndexDeltaLength || x.RTPMap != y.RTPMap || x.FMTP != y.FMTP {
			return false
		}
		if x.Codec == media.AAC && (len(x.Params) != len(y.Params) ||
			len(x.Params) > 0 && !bytes.Equal(x.Params[0], y.Params[0])) {
			return false
		}
	}
	return true
}
