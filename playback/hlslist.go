package playback

import (
	"time"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// hlsItem is a segment of a playlist: a fragment, or a stretch that nobody has.
type hlsItem struct {
	hash           media.Hash
	first, end     uint64 // offsets
	startNS, endNS int64
	windowNS       int64
	epoch, init    uint32 // index in the list's lists
	gap            bool
	broken         bool // a discontinuity comes before it
	dependent      bool // it does not start at a random access point
}

// hlsList is what a playlist says. Items are in the order of capture time; they are only
// added at the end, and taken away at the start.
type hlsList struct {
	items  []hlsItem
	epochs []record.Epoch
	inits  []media.Hash
	// holders are the recorders of an init header, see planRef.
	holders []uint64
	// gaps counts stretches that nobody has.
	gaps int
	// Items that were taken away, and discontinuities before them.
	dropped, droppedBreaks int64

	skipGaps bool
	live     bool     // it begins with a fragment
	skipNext bool     // the next gap
	last     *hlsItem // the last fragment, also where it was taken away
	lastAt   hlsItem
	breakIt  bool // a discontinuity is due
}

// maxGapPieces bounds how many segments a gap is shown as.
const maxGapPieces = 100_000

// add takes what a plan has beyond the items that are there. target is how long a segment
// may be: a gap is shown as several. It ends before a hole for which settled says no.
func (l *hlsList) add(p *plan, target time.Duration, settled func(hole stretch, unknown bool) bool) {
	gaps, unknown := p.gaps, p.unknown
	for i := p.preRoll; i < len(p.refs); i++ {
		r := &p.refs[i]
		if r.startNS >= p.toNS || l.has(p, r) {
			continue
		}
		for len(gaps) > 0 && gaps[0].startNS < r.startNS {
			hole := gaps[0]
			if gaps = gaps[1:]; l.covers(hole) {
				continue
			}
			if !settled(hole, false) {
				return
			}
			l.addGap(hole, target)
		}
		for len(unknown) > 0 && unknown[0].startNS < r.startNS {
			hole := unknown[0]
			if unknown = unknown[1:]; l.covers(hole) {
				continue
			}
			if !settled(hole, true) {
				return
			}
			l.breakIt = l.breakIt || l.last != nil
		}
		l.addRef(p, r)
	}
	for _, hole := range gaps { // after the last fragment
		if !l.covers(hole) && settled(hole, false) {
			l.addGap(hole, target)
		}
	}
}

// covers reports whether the list went over the hole already.
func (l *hlsList) covers(hole stretch) bool {
	return len(l.items) > 0 && l.items[len(l.items)-1].endNS >= hole.endNS
}

// has reports whether the fragment is in the list already, or is not to be in it any more
// because later ones are.
func (l *hlsList) has(p *plan, r *planRef) bool {
	if l.last == nil {
		return false
	}
	if l.epochs[l.last.epoch] == p.epochs[r.epoch] {
		return r.first < l.last.end && (r.fromNS == 0 || r.end <= l.last.end)
	}
	return r.startNS < l.last.endNS-overlapNS
}

func (l *hlsList) addRef(p *plan, r *planRef) {
	it := hlsItem{
		hash: r.hash, first: r.first, end: r.end, startNS: r.startNS, endNS: r.endNS, windowNS: r.windowNS, dependent: !r.randomAccess,
		epoch: intern(&l.epochs, p.epochs[r.epoch]), init: intern(&l.inits, p.inits[r.init]),
	}
	for len(l.holders) < len(l.inits) {
		l.holders = append(l.holders, 0)
	}
	l.holders[it.init] |= r.holders
	if b := l.last; b != nil {
		it.broken = l.breakIt || b.epoch != it.epoch || b.init != it.init
	}
	l.breakIt = false
	l.lastAt = it
	l.last = &l.lastAt
	l.items = append(l.items, it)
}

// intern returns where v is in the list, and appends it where it is not. What was used
// last is at the end.
func intern[T comparable](list *[]T, v T) uint32 {
	for i := len(*list) - 1; i >= 0; i-- {
		if (*list)[i] == v {
			return uint32(i)
		}
	}
	*list = append(*list, v)
	return uint32(len(*list) - 1)
}

// addGap shows a stretch that nobody has as segments that are not to be loaded (RFC 8216bis 4.4.4.7).
func (l *hlsList) addGap(hole stretch, target time.Duration) {
	if l.live && l.last == nil {
		return
	}
	l.gaps++
	if l.skipGaps || l.skipNext {
		l.skipNext = false
		l.breakIt = l.breakIt || l.last != nil
		return
	}
	length := hole.endNS - hole.startNS
	n := min((length+int64(target)-1)/int64(target), maxGapPieces)
	for i := range n {
		l.items = append(l.items, hlsItem{
			gap: true, startNS: hole.startNS + length/n*i, endNS: hole.startNS + length/n*(i+1),
		})
	}
	l.items[len(l.items)-1].endNS = hole.endNS
}

// trim takes items away at the start, so that those that stay begin with a fragment and
// are at least so many and so long.
func (l *hlsList) trim(items int, length time.Duration) {
	if len(l.items) == 0 {
		return
	}
	end := l.items[len(l.items)-1].endNS
	cut := 0
	for n := 0; n < len(l.items)-items && end-l.items[n].startNS >= int64(length); n++ {
		if !l.items[n].gap {
			cut = n
		}
	}
	for _, it := range l.items[:cut] {
		l.dropped++
		if it.broken {
			l.droppedBreaks++
		}
	}
	l.items = append(l.items[:0:0], l.items[cut:]...)
}

// seconds is the longest segment, rounded up.
func (l *hlsList) seconds() int {
	longest := int64(time.Second)
	for i := range l.items {
		longest = max(longest, l.items[i].endNS-l.items[i].startNS)
	}
	return int((longest + int64(time.Second) - 1) / int64(time.Second))
}

// longestOf is the longest fragment of a plan, rounded up to seconds.
func longestOf(p *plan) time.Duration {
	longest := int64(time.Second)
	for i := range p.refs {
		longest = max(longest, p.refs[i].endNS-p.refs[i].startNS)
	}
	return time.Duration((longest + int64(time.Second) - 1) / int64(time.Second) * int64(time.Second))
}
