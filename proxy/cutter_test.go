package proxy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// A GOP as long as fragment.min is a fragment, though capture times make it now a little
// shorter, now a little longer: fragments of two GOPs would be durable a second later.
func TestAGOPOfFragmentMinIsAFragment(t *testing.T) {
	c := newCutter([]media.Track{h264Track()}, time.Second, 10*time.Second)
	at := int64(time.Hour)
	for i := range 100 {
		flags, keep := c.decide(accessUnit{captureNS: at, randomAccess: true})
		require.True(t, keep)
		require.True(t, flags.Has(record.Cut), "GOP %d", i)
		at += int64(time.Second) + int64(i%3-1)*int64(500*time.Microsecond)
		half, _ := c.decide(accessUnit{captureNS: at - int64(500*time.Millisecond), randomAccess: true})
		require.False(t, half.Has(record.Cut), "half a GOP after %d", i)
	}
}
