package proxy

import (
	"fmt"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h265"

	"github.com/duet-video/duet/internal/media"
)

// trackName describes a track for people: "h264 1920x1080", "aac 48000 Hz".
func trackName(t media.Track) string {
	w, h := pictureSize(t)
	switch {
	case w > 0 && h > 0:
		return fmt.Sprintf("%s %dx%d", t.Codec, w, h)
	case t.Kind == media.KindAudio && t.SampleRate > 0:
		return fmt.Sprintf("%s %d Hz", t.Codec, t.SampleRate)
	}
	return string(t.Codec)
}

// pictureSize returns width and height where the parameter sets are known.
func pictureSize(t media.Track) (width, height int) {
	switch {
	case t.Codec == media.H264 && len(t.Params) > 0:
		var sps h264.SPS
		if sps.Unmarshal(t.Params[0]) == nil {
			return sps.Width(), sps.Height()
		}
	case t.Codec == media.H265 && len(t.Params) > 1:
		var sps h265.SPS
		if sps.Unmarshal(t.Params[1]) == nil {
			return sps.Width(), sps.Height()
		}
	}
	return 0, 0
}
