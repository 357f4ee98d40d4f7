package media

import (
	"encoding/json"
	"fmt"
	"time"
)

// Kind is what a track carries.
type Kind string

// The kinds of track. Tracks of KindMetadata are proxied live and not stored in fragments.
const (
	KindVideo    Kind = "video"
	KindAudio    Kind = "audio"
	KindMetadata Kind = "metadata"
)

// Codec names the coding of a track.
type Codec string

// The codecs that are known. Those for which Storable is false are proxied live only.
const (
	H264     Codec = "h264"
	H265     Codec = "h265"
	AV1      Codec = "av1"
	VP9      Codec = "vp9"
	VP8      Codec = "vp8"
	MJPEG    Codec = "mjpeg"
	AAC      Codec = "aac"
	Opus     Codec = "opus"
	MP3      Codec = "mp3"
	AC3      Codec = "ac3"
	LPCM     Codec = "lpcm"
	PCMA     Codec = "pcma" // G.711 A-law, stored as LPCM
	PCMU     Codec = "pcmu" // G.711 µ-law, stored as LPCM
	Metadata Codec = "metadata"
	Unknown  Codec = "unknown"
)

// Storable reports whether fMP4 can hold the codec.
func (c Codec) Storable() bool {
	switch c {
	case H264, H265, AV1, VP9, MJPEG, AAC, Opus, MP3, AC3, LPCM, PCMA, PCMU:
		return true
	}
	return false
}

// Track describes one track of a camera.
type Track struct {
	Kind  Kind  `json:"kind"`
	Codec Codec `json:"codec"`
	// ClockRate is the rate of the RTP timestamps, in Hz.
	ClockRate int `json:"clockRate"`
	// SampleRate (Hz), Channels and BitDepth are set for audio.
	SampleRate int `json:"sampleRate,omitempty"`
	Channels   int `json:"channels,omitempty"`
	BitDepth   int `json:"bitDepth,omitempty"`
	// Params are the codec's parameter sets, those known when the fragment was cut:
	// H.264 SPS, PPS; H.265 VPS, SPS, PPS; AAC AudioSpecificConfig (ISO/IEC 14496-3
	// 1.6.2.1); others none. A set that is not known is empty.
	Params [][]byte `json:"params,omitempty"`
	// AAC only: bits of the AU header fields (RFC 3640 3.3.6); LATM where the packets
	// follow RFC 6416 instead.
	SizeLength       int  `json:"sizeLength,omitempty"`
	IndexLength      int  `json:"indexLength,omitempty"`
	IndexDeltaLength int  `json:"indexDeltaLength,omitempty"`
	LATM             bool `json:"latm,omitempty"`
	// LATM only: each packet says how it is multiplexed (cpresent=1, RFC 6416 7.4).
	MuxConfigInBand bool `json:"muxConfigInBand,omitempty"`
	// RTPMap and FMTP are the attributes of the camera's SDP (RFC 8866 6.6, 6.15) without
	// the payload type, for tracks of codec Metadata and Unknown, which are proxied live.
	RTPMap string `json:"rtpMap,omitempty"`
	FMTP   string `json:"fmtp,omitempty"`
}

// Cause says why footage is missing.
type Cause string

// The causes of a gap.
const (
	// CauseStart: recording of the camera had not begun. In a Description: this is the
	// proxy's first session with it, so that what is between earlier footage and this is
	// CauseProxy.
	CauseStart Cause = "not_started"
	// CauseConnection: the camera or the network closed the connection.
	CauseConnection Cause = "connection_lost"
	// CauseStalled: the camera was connected and sent nothing.
	CauseStalled Cause = "camera_stalled"
	// CauseFormat: the camera changed its tracks; the session was begun anew.
	CauseFormat Cause = "format_changed"
	// CauseProxy: the proxy that pulled the camera ended or was shut down.
	CauseProxy Cause = "proxy_stopped"
	// CauseBehind: no recorder took the records before they left the proxy's log.
	CauseBehind Cause = "recorders_behind"
	// CauseRetention: what was there has been deleted by a retention rule.
	CauseRetention Cause = "retention"
	// CauseDamaged: every copy of it is damaged.
	CauseDamaged Cause = "damaged"
)

// Description is what a fragment needs to know beside its records. The proxy puts it
// into the Ext of every cut, so that a fragment can be built from its records alone.
type Description struct {
	// SegmentMS is the duration of a segment in milliseconds; a fragment's decode
	// times count from the last multiple of it (UTC) at or before its first sample.
	SegmentMS int64 `json:"segmentMs"`
	// Since says why there is a gap before this epoch, and SinceNS when the camera's
	// previous epoch at this proxy ended (Unix ns; 0 when there was none).
	Since   Cause   `json:"since"`
	SinceNS int64   `json:"sinceNs,omitempty"`
	Tracks  []Track `json:"tracks"`
}

// Encode returns the form that is carried in a record's Ext: JSON, the same bytes for
// the same value.
func (d *Description) Encode() ([]byte, error) { return json.Marshal(d) }

// Limits on a Description that comes from outside.
const (
	maxTracks    = 16
	maxSegmentMS = int64(24 * time.Hour / time.Millisecond)
)

// ParseDescription reads what Encode writes, and checks it.
func ParseDescription(b []byte) (*Description, error) {
	var d Description
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("description of a cut: %w", err)
	}
	if d.SegmentMS <= 0 || d.SegmentMS > maxSegmentMS {
		return nil, fmt.Errorf("description of a cut: segmentMs %d is not in 1 … %d", d.SegmentMS, maxSegmentMS)
	}
	if len(d.Tracks) == 0 || len(d.Tracks) > maxTracks {
		return nil, fmt.Errorf("description of a cut: %d tracks, want 1 … %d", len(d.Tracks), maxTracks)
	}
	for i, t := range d.Tracks {
		if t.ClockRate <= 0 {
			return nil, fmt.Errorf("description of a cut: track %d: clock rate %d", i, t.ClockRate)
		}
	}
	return &d, nil
}
