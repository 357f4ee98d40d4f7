package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckPrintsThePlanAndItsLoad(t *testing.T) {
	file := writeSite(t, "data: r1}", "data: r1, capacity: 8Mbit/s, quota: 1TB, zone: a}")
	code, out, errs := duet(t, "check", "-c", file)
	require.Zero(t, code, errs)
	require.Empty(t, errs)
	for _, want := range []string{
		`(?m)^gate +p1 +r1 +r2 +dual +~ 4 Mbit/s$`,
		`(?m)^~ assumed, where a camera has no bitrate: 1 of 1$`,
		`(?m)^r1 +primary +a +1 +4 Mbit/s +8 Mbit/s +50 % +1 TB +23 days$`,
		`(?m)^r2 +redundant +- +1 +4 Mbit/s +- +- +- +-$`,
		`is good: cameras 1, proxies 1, recorders 2, playback 1\.\n$`,
	} {
		require.Regexp(t, want, out)
	}
	require.NotContains(t, out, "PEAK")
	require.NotContains(t, out, "Warning")
}

func TestCheckShowsAndRefusesAnOverloadedPlan(t *testing.T) {
	file := writeSite(t, "data: r2}", "data: r2, capacity: 3999kbit/s}")
	code, out, errs := duet(t, "check", "-c", file)
	require.Equal(t, exitFailed, code)
	require.Regexp(t, `(?m)^r2 .* 4 Mbit/s +101 %`, out)
	require.Contains(t, out, "it is too much")
	require.NotContains(t, out, "is good")
	require.Contains(t, errs, file+":2:")
	require.Contains(t, errs, "camera gate needs 4 Mbit/s, and no redundant recorder has room for it")
	require.NotContains(t, errs, "geheim")
}

func TestCheckWarnsOfWhatIsUnwise(t *testing.T) {
	file := writeSite(t,
		"data: r1}", "data: r1, zone: a}",
		"data: r2}", "data: r2, zone: a, quota: 1TB}",
		"playback:", "retention: {age: 30d}\nplayback:")
	code, out, errs := duet(t, "check", "-c", file)
	require.Zero(t, code, errs)
	require.Contains(t, out, "Warning: both copies of 1 camera (gate) are in zone a")
	require.Contains(t, out, "Warning: the quota of recorder r2 lasts 23 days when all of its cameras record, and retention.age is 30d")
}

func TestCheckComparesCapacityWithOneFailureWhereCopiesAreSpare(t *testing.T) {
	file := writeSite(t,
		"127.0.0.1:1/gate\"}", "127.0.0.1:1/gate\", primary: r1, copies: spare}\n  - {name: yard, source: \"rtsp://127.0.0.1:1/yard\", primary: r3, copies: spare}",
		"data: r2}", "data: r2, capacity: 4Mbit/s}\n  - {name: r3, role: primary, http: \"10.0.0.9:9102\", data: r3}")
	code, out, errs := duet(t, "check", "-c", file)
	require.Zero(t, code, errs)
	require.Regexp(t, `(?m)^RECORDER .* LOAD +PEAK +CAPACITY`, out)
	require.Regexp(t, `(?m)^r2 +redundant +- +2 +8 Mbit/s +4 Mbit/s +4 Mbit/s +100 %`, out)
}
