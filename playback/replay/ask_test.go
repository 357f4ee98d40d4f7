package replay

import (
	"errors"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/stretchr/testify/require"
)

var zero = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano()

func header(kv ...string) base.Header {
	h := base.Header{"CSeq": {"773"}}
	for i := 0; i < len(kv); i += 2 {
		h[kv[i]] = append(h[kv[i]], kv[i+1])
	}
	return h
}

func TestPlayIsReadAsONVIFAndRFC2326Say(t *testing.T) {
	const s = int64(time.Second)
	for name, c := range map[string]struct {
		h    base.Header
		want ask
	}{
		"nothing":           {header(), ask{scale: 1, speed: 1, paced: true}},
		"clock, open":       {header("Range", "clock=20260301T120005Z-"), ask{ranged: true, fromNS: zero + 5*s, scale: 1, speed: 1, paced: true}},
		"clock, closed":     {header("Range", "clock=20260301T120005.25Z-20260301T120006.000000001Z"), ask{ranged: true, fromNS: zero + 5*s + s/4, toNS: zero + 6*s + 1, scale: 1, speed: 1, paced: true}},
		"reverse, open":     {header("Range", "clock=20260301T120005Z-", "Scale", "-1.0", "Rate-Control", "no"), ask{ranged: true, fromNS: zero + 5*s, scale: -1, scaled: true, speed: 1, onvif: true}},
		"reverse, closed":   {header("Range", "clock=20260301T120005Z-20260301T120001Z", "Scale", "-2"), ask{ranged: true, fromNS: zero + 5*s, toNS: zero + s, scale: -2, scaled: true, speed: 1, paced: true}},
		"of ffmpeg":         {header("Range", "npt=0.000-"), ask{ranged: true, npt: true, fromNS: zero, scale: 1, speed: 1, paced: true}},
		"npt with an end":   {header("Range", "npt=1:02:03.5-3800"), ask{ranged: true, npt: true, fromNS: zero + 3723*s + s/2, toNS: zero + 3800*s, scale: 1, speed: 1, paced: true}},
		"npt now":           {header("Range", "npt=now-"), ask{ranged: true, npt: true, now: true, scale: 1, speed: 1, paced: true}},
		"of GStreamer":      {header("Range", "npt=3981355205-"), ask{ranged: true, npt: true, fromNS: zero + 5*s, scale: 1, speed: 1, paced: true}},
		"a time of start":   {header("Range", "clock=20260301T120005Z-;time=20260301T120000Z"), ask{ranged: true, fromNS: zero + 5*s, scale: 1, speed: 1, paced: true}},
		"intra":             {header("Frames", "intra"), ask{scale: 1, speed: 1, paced: true, frames: framesIntra, framed: true, onvif: true}},
		"intra with ms":     {header("Frames", "intra/4000"), ask{scale: 1, speed: 1, paced: true, frames: framesIntra, framed: true, everyNS: 4 * s, onvif: true}},
		"predicted":         {header("Frames", "predicted"), ask{scale: 1, speed: 1, paced: true, frames: framesPredicted, framed: true, onvif: true}},
		"all at once":       {header("Require", "onvif-replay", "Immediate", "yes", "Rate-Control", "No", "Frames", "all"), ask{scale: 1, speed: 1, framed: true, immediate: true, onvif: true}},
		"speed":             {header("Speed", "2.5"), ask{scale: 1, speed: 2.5, paced: true}},
		"speed without end": {header("Speed", "1000000"), ask{scale: 1, speed: maxSpeed, paced: true}},
	} {
		t.Run(name, func(t *testing.T) {
			c.want.cseq = 773 & 0xff
			got, err := parseAsk(c.h, zero)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestPlayThatMakesNoSenseIsRefusedByTheRightCode(t *testing.T) {
	for name, c := range map[string]struct {
		h    base.Header
		want base.StatusCode
	}{
		"inverted":               {header("Range", "clock=20260301T120005Z-20260301T120001Z"), base.StatusInvalidRange},
		"empty":                  {header("Range", "clock=20260301T120005Z-20260301T120005Z"), base.StatusInvalidRange},
		"reverse, but upwards":   {header("Range", "clock=20260301T120001Z-20260301T120005Z", "Scale", "-1"), base.StatusInvalidRange},
		"no day":                 {header("Range", "clock=20260231T120001Z-"), base.StatusBadRequest},
		"no zone":                {header("Range", "clock=20260301T120001-"), base.StatusBadRequest},
		"fraction without digit": {header("Range", "clock=20260301T120001.Z-"), base.StatusBadRequest},
		"fraction of letters":    {header("Range", "clock=20260301T120001.xZ-"), base.StatusBadRequest},
		"year 1":                 {header("Range", "clock=00010301T120001Z-"), base.StatusBadRequest},
		"no start":               {header("Range", "clock=-20260301T120001Z"), base.StatusBadRequest},
		"nothing":                {header("Range", "clock=-"), base.StatusBadRequest},
		"no unit":                {header("Range", "yesterday"), base.StatusBadRequest},
		"npt of words":           {header("Range", "npt=soon-"), base.StatusBadRequest},
		"npt without end":        {header("Range", "npt=1e300-"), base.StatusBadRequest},
		"smpte":                  {header("Range", "smpte=10:07:00-"), base.StatusNotImplemented},
		"scale 0":                {header("Scale", "0"), base.StatusHeaderFieldNotValidForResource},
		"scale 1000":             {header("Scale", "1000"), base.StatusHeaderFieldNotValidForResource},
		"scale NaN":              {header("Scale", "NaN"), base.StatusBadRequest},
		"scale of words":         {header("Scale", "fast"), base.StatusBadRequest},
		"scale 2 without rate":   {header("Scale", "2.0", "Rate-Control", "no"), base.StatusHeaderFieldNotValidForResource},
		"speed 0":                {header("Speed", "0"), base.StatusBadRequest},
		"rate control maybe":     {header("Rate-Control", "maybe"), base.StatusBadRequest},
		"immediate perhaps":      {header("Immediate", "perhaps"), base.StatusBadRequest},
		"frames of another kind": {header("Frames", "bidirectional"), base.StatusBadRequest},
		"interval of all":        {header("Frames", "all/100"), base.StatusBadRequest},
		"interval below 0":       {header("Frames", "intra/-1"), base.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseAsk(c.h, zero)
			var r *refusal
			require.True(t, errors.As(err, &r), "%v", err)
			require.Equal(t, c.want, r.code, r.message)
		})
	}
}

func TestTimesOfRangesAreExactToTheNanosecond(t *testing.T) {
	for _, ns := range []int64{zero, zero + 1, zero + 999_999_999, zero + 123_456_789} {
		got, err := parseClock(formatClock(ns))
		require.NoError(t, err)
		require.Equal(t, ns, got)
	}
	plus, err := parseRFC3339("2026-03-01T13:00:00 01:00") // + in a URL
	require.NoError(t, err)
	require.Equal(t, zero, plus)
	require.Equal(t, uint64(0x83AA7E80)<<32|1<<31, ntpOf(int64(time.Second/2)), "RFC 3550 4")
}

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"clock=20260301T120005.25Z-20260301T120006Z", "npt=now-", "npt=1:02:03.5-3800", "npt=-5", "smpte=1-", "clock=-"} {
		f.Add(s, "1.0")
	}
	f.Fuzz(func(t *testing.T, span, scale string) {
		a, err := parseAsk(header("Range", span, "Scale", scale), zero)
		if err != nil {
			var r *refusal
			require.True(t, errors.As(err, &r))
			require.Equal(t, oneLine(r.message), r.message)
			return
		}
		if a.fromNS != 0 && a.toNS != 0 {
			require.Equal(t, a.scale > 0, a.fromNS < a.toNS)
		}
	})
}
