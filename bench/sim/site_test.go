package sim

import (
	"os"
	"testing"
	"testing/synctest"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

func testLog() zerolog.Logger {
	if os.Getenv("DUET_SIM_LOG") == "" {
		return zerolog.Nop()
	}
	return zerolog.New(zerolog.ConsoleWriter{Out: os.Stderr, TimeFormat: "15:04:05.000"}).With().Timestamp().Logger()
}

func TestSiteWithoutFaultsIsRecordedWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		require.NoError(t, Story{
			Options: Options{Seed: 1, Cameras: 2, Recorders: 2, Log: testLog()},
			Lines:   []string{"run 1m", "heal", "settle", "check"},
		}.Tell())
	})
}
