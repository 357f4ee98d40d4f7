package recorder

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/record"
)

// stepClock stands still until it is moved.
type stepClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *stepClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *stepClock) Mono() int64 { return c.Now().UnixNano() }

func (c *stepClock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestAlarmsSayWhatIsWrongAndSinceWhen(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	d := openDir(t)
	c := &stepClock{now: testBase}
	r, err := New(Options{
		Name: "r1", DataDir: d.dir, FS: d.fs, Listener: l, Clock: c, Log: zerolog.Nop(), Registry: prometheus.NewRegistry(),
		Proxies: []Proxy{{Name: "p1", Address: "127.0.0.1:1"}}, Cameras: []Camera{{Name: "gate"}},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	codes := func() []string {
		var out []string
		for _, a := range r.alarms() {
			out = append(out, a.GetCode())
			require.NotEmpty(t, a.GetMessage())
		}
		return out
	}
	require.Equal(t, []string{alarmRecovering}, codes())
	require.ErrorContains(t, r.ready(), "starting")
	v := r.slots[0].volume()
	require.NoError(t, v.recover(t.Context()))
	r.slots[0].ready = true
	r.assign()
	require.Empty(t, codes())
	require.NoError(t, r.ready())

	c.step(time.Second)
	require.Empty(t, codes(), "a link may take its time")
	c.step(2 * time.Second)
	require.Equal(t, []string{alarmLinkDown}, codes())
	require.Equal(t, testBase.UnixNano(), r.alarms()[0].GetSinceNs())
	require.Contains(t, r.alarms()[0].GetMessage(), "p1")
	s := r.streams[0]
	s.mu.Lock()
	s.downAt = time.Time{}
	s.mu.Unlock()
	require.Empty(t, codes())

	v.disk.committing.begin()
	c.step(3 * time.Second)
	require.Empty(t, codes())
	c.step(2 * time.Second)
	require.Equal(t, []string{alarmDiskHung}, codes(), "a disk that hangs")
	require.ErrorContains(t, r.ready(), "not answered")
	require.Equal(t, c.Now().Add(-5*time.Second).UnixNano(), r.alarms()[0].GetSinceNs())
	v.disk.committing.end()
	require.Empty(t, codes())

	v.disk.note(byCommitter, errors.New("sync: input/output error"))
	v.disk.note(byCommitter, nil)
	require.NoError(t, r.ready(), "the next one succeeds")
	require.Equal(t, []string{alarmDiskFails}, codes(), "and yet it is told")
	require.Contains(t, r.alarms()[0].GetMessage(), "works again: sync: input/output error")
	c.step(failedFor + time.Second)
	require.Empty(t, codes())

	f := s.feeds[0]
	f.counts.firstNS.Store(testBase.UnixNano())
	f.counts.lastNS.Store(testBase.Add(29 * time.Second).UnixNano())
	require.Empty(t, codes())
	f.counts.lastNS.Store(testBase.Add(31 * time.Second).UnixNano())
	require.Equal(t, []string{alarmBehind}, codes())
	f.committed(progress{at: record.Position{Epoch: testEpoch(t, testBase, 1), Offset: 9}, endNS: testBase.Add(5 * time.Second).UnixNano()})
	require.Empty(t, codes())
}
