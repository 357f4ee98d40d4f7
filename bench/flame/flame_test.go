package flame_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/flame"
)

//go:noinline
func burn(d time.Duration) float64 {
	x := 1.0
	for began := time.Now(); time.Since(began) < d; {
		for range 10000 {
			x = math.Sqrt(x + 1)
		}
	}
	return x
}

func TestAProfileOfThisProcessShowsWhereItsTimeWent(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, pprof.StartCPUProfile(&b))
	require.Positive(t, burn(700*time.Millisecond))
	pprof.StopCPUProfile()
	root, err := flame.Parse(b.Bytes())
	require.NoError(t, err)
	require.Positive(t, root.Total)
	isBurn := func(name string) bool { return strings.HasSuffix(name, "flame_test.burn") }
	require.Greater(t, root.Of(isBurn), 0.5)
	found := false
	for _, s := range root.Top(20) {
		require.LessOrEqual(t, s.Self, s.Total)
		found = found || isBurn(s.Name) && s.Total > 0.5
	}
	require.True(t, found, "%v", root.Top(20))

	svg := root.SVG("burn <& test>")
	require.Contains(t, string(svg), "flame_test.burn")
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{})
	f.Fuzz(func(_ *testing.T, b []byte) {
		if n, err := flame.Parse(b); err == nil {
			n.SVG("x")
			n.Top(5)
		}
	})
}
