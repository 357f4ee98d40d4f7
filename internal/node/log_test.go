package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLoggerStampsInUTCToTheMillisecond(t *testing.T) {
	var b bytes.Buffer
	log, err := NewLogger(&b, "info", FormatJSON)
	require.NoError(t, err)
	log.Debug().Msg("not this")
	log.Info().Str("camera", "gate").Msg("live")
	var line struct{ Time, Level, Camera, Message string }
	require.NoError(t, json.Unmarshal(b.Bytes(), &line))
	require.Equal(t, "gate", line.Camera)
	at, err := time.Parse(logTime, line.Time)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), at, time.Minute)
	require.Equal(t, time.UTC, at.Location())
}

func TestConsoleLinesAreForPeople(t *testing.T) {
	var b bytes.Buffer
	log, err := NewLogger(&b, "INFO", FormatConsole)
	require.NoError(t, err)
	log.Info().Str("camera", "gate").Msg("live")
	require.Regexp(t, `^\d\d:\d\d:\d\d\.\d{3} INF live camera=gate\n$`, b.String())
}

func TestWrongLevelOrFormatIsRefused(t *testing.T) {
	_, err := NewLogger(nil, "loud", FormatJSON)
	require.ErrorContains(t, err, `"loud"`)
	_, err = NewLogger(nil, "", FormatJSON)
	require.Error(t, err)
	_, err = NewLogger(nil, "info", "xml")
	require.ErrorContains(t, err, `"xml"`)
}

func TestRepeatingCauseIsLoggedOncePerIntervalWithTheCount(t *testing.T) {
	now := time.Unix(1000, 0)
	e := NewEvery(time.Second, func() time.Time { return now })
	_, ok := e.Allow("a")
	require.True(t, ok)
	for range 5 {
		now = now.Add(100 * time.Millisecond)
		_, ok = e.Allow("a")
		require.False(t, ok)
	}
	_, ok = e.Allow("b")
	require.True(t, ok, "another cause has its own second")
	now = now.Add(500 * time.Millisecond)
	n, ok := e.Allow("a")
	require.True(t, ok)
	require.Equal(t, 5, n)
	now = now.Add(time.Second)
	n, ok = e.Allow("a")
	require.True(t, ok)
	require.Zero(t, n)
}

func TestCausesThatVaryDoNotGrowMemory(t *testing.T) {
	e := NewEvery(time.Hour, time.Now)
	for i := range 3 * maxCauses {
		e.Allow(fmt.Sprint(i))
	}
	require.LessOrEqual(t, len(e.causes), maxCauses)
}
