package recorder

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// heldOf makes a camera with an open segment of 10 bytes and complete ones, each
// "start-end" in seconds, of 100 bytes.
func heldOf(name string, rule Retention, spans ...[2]int64) held {
	h := held{camera: name, rule: rule, bytes: 10}
	for _, s := range spans {
		h.bytes += 100
		h.oldest = append(h.oldest, heldSegment{
			path: fmt.Sprintf("%s/%d", name, s[0]), startNS: s[0] * 1e9, endNS: s[1] * 1e9, bytes: 100,
		})
	}
	return h
}

func TestRetentionTables(t *testing.T) {
	const now = 1000 * int64(time.Second)
	three := [][2]int64{{100, 200}, {200, 300}, {300, 400}}
	for _, c := range []struct {
		name    string
		cameras []held
		room    diskRoom
		limit   int
		want    []string
	}{
		{name: "nothing is asked, nothing goes", cameras: []held{heldOf("a", Retention{}, three...)}},
		{
			name: "age counts from the end of a segment", want: []string{"a/100 age", "a/200 age"},
			cameras: []held{heldOf("a", Retention{Age: 601 * time.Second}, three...)},
		},
		{
			name: "bytes count the open segment", want: []string{"a/100 bytes"},
			cameras: []held{heldOf("a", Retention{Bytes: 210}, three...)},
		},
		{
			name: "the open segment stays however small the limit", want: []string{"a/100 bytes", "a/200 bytes", "a/300 bytes"},
			cameras: []held{heldOf("a", Retention{Bytes: 1}, three...)},
		},
		{
			name: "a quota takes the oldest of all cameras", want: []string{"a/100 quota", "b/150 quota", "a/200 quota"},
			cameras: []held{heldOf("a", Retention{}, three...), heldOf("b", Retention{}, [2]int64{150, 160})},
			room:    diskRoom{quota: 130, free: -1},
		},
		{
			name: "free space counts what has just gone", want: []string{"a/100 min_free", "a/200 min_free"},
			cameras: []held{heldOf("a", Retention{}, three...)},
			room:    diskRoom{free: 50, minFree: 200},
		},
		{
			name: "what a camera's rule frees is not freed again for the disk", want: []string{"b/150 age"},
			cameras: []held{heldOf("a", Retention{}, three...), heldOf("b", Retention{Age: time.Second}, [2]int64{150, 160})},
			room:    diskRoom{free: 50, minFree: 150, quota: 330},
		},
		{
			name: "unknown free space deletes nothing", cameras: []held{heldOf("a", Retention{}, three...)},
			room: diskRoom{free: -1, minFree: 1 << 40},
		},
		{
			name: "small pieces", limit: 1, want: []string{"a/100 age"},
			cameras: []held{heldOf("a", Retention{Age: time.Second}, three...)},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.limit == 0 {
				c.limit = 100
			}
			var got []string
			for _, d := range expire(now, c.cameras, c.room, c.limit) {
				got = append(got, d.path+" "+d.cause)
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestRetentionDeletesOldestFirstAndNoMoreThanItMust(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := int64(2000e9)
		var cameras []held
		var total int64
		for i := range rapid.IntRange(1, 4).Draw(t, "cameras") {
			rule := Retention{
				Age:   time.Duration(rapid.Int64Range(0, 2000).Draw(t, "age")) * time.Second,
				Bytes: rapid.Int64Range(0, 1000).Draw(t, "bytes"),
			}
			at := rapid.Int64Range(0, 500).Draw(t, "at")
			var spans [][2]int64
			for range rapid.IntRange(0, 8).Draw(t, "segments") {
				end := at + rapid.Int64Range(1, 200).Draw(t, "long")
				spans = append(spans, [2]int64{at, end})
				at = end
			}
			h := heldOf(fmt.Sprint("cam", i), rule, spans...)
			total += h.bytes
			cameras = append(cameras, h)
		}
		room := diskRoom{
			quota: rapid.Int64Range(0, 2000).Draw(t, "quota"), minFree: rapid.Int64Range(0, 1000).Draw(t, "min free"),
			free: rapid.Int64Range(-1, 1000).Draw(t, "free"),
		}
		gone := expire(now, cameras, room, 1000)
		count := map[string]int{}
		left := map[string]int64{}
		for _, c := range cameras {
			left[c.camera] = c.bytes
		}
		free := room.free
		byName := map[string]held{}
		for _, c := range cameras {
			byName[c.camera] = c
		}
		for _, d := range gone {
			c := byName[d.camera]
			require.Equal(t, c.oldest[count[d.camera]].path, d.path, "a camera's oldest go first")
			switch d.cause { // each is needed at the moment it goes
			case goesAge:
				require.Less(t, d.endNS, now-int64(c.rule.Age))
			case goesBytes:
				require.Greater(t, left[d.camera], c.rule.Bytes)
			case goesQuota:
				require.Greater(t, total, room.quota)
			case goesMinFree:
				require.Less(t, free, room.minFree)
			}
			count[d.camera]++
			left[d.camera] -= d.bytes
			total -= d.bytes
			free += d.bytes
		}
		for _, c := range cameras { // nothing that must go stays, unless only open segments are left
			rest := c.oldest[count[c.camera]:]
			if len(rest) == 0 {
				continue
			}
			require.False(t, c.rule.Age > 0 && rest[0].endNS < now-int64(c.rule.Age))
			require.False(t, c.rule.Bytes > 0 && left[c.camera] > c.rule.Bytes)
			require.False(t, room.quota > 0 && total > room.quota)
			require.False(t, room.free >= 0 && free < room.minFree)
		}
		require.Equal(t, gone, expire(now, cameras, room, 1000), "it is a function")
	})
}

func TestAWallClockThatStepsForwardDeletesNothing(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	year := int64(365 * 24 * time.Hour)
	require.Equal(t, start+int64(time.Minute), ageNow(start+year, start, start-int64(time.Hour)), "nothing agrees")
	require.Equal(t, start+year, ageNow(start+year, start, start+year), "footage agrees")
	require.Equal(t, start, ageNow(start, start, start+year), "footage of the future changes nothing")
	require.Equal(t, start+10, ageNow(start+10, start+10, 0), "no footage: the steady clock")
}
