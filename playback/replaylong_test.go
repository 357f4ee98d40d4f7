package playback

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// withRTSP serves recordings over RTSP, too.
func withRTSP(t testing.TB) func(*Options) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return func(o *Options) { o.RTSP = &RTSP{Listener: l} }
}

// rtspClient asks for a replay over TCP.
type rtspClient struct {
	nc      net.Conn
	buf     []byte
	session string
}

func (s *Service) dialRTSP() (*rtspClient, error) {
	nc, err := net.Dial("tcp", s.o.RTSP.Listener.Addr().String())
	return &rtspClient{nc: nc}, err
}

// ask sends a request and returns the head of the answer.
func (c *rtspClient) ask(method, url string, headers ...string) (string, error) {
	text := method + " " + url + " RTSP/1.0\r\nCSeq: 1\r\n" + c.session
	for _, h := range headers {
		text += h + "\r\n"
	}
	_ = c.nc.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c.nc, text+"\r\n"); err != nil {
		return "", err
	}
	var head []byte
	for !strings.HasSuffix(string(head), "\r\n\r\n") {
		b := make([]byte, 1)
		if _, err := io.ReadFull(c.nc, b); err != nil {
			return "", err
		}
		head = append(head, b...)
	}
	if !strings.HasPrefix(string(head), "RTSP/1.0 200") {
		return "", fmt.Errorf("%s: %s", method, head)
	}
	for line := range strings.Lines(string(head)) {
		line = strings.TrimSpace(line)
		if n, ok := strings.CutPrefix(line, "Content-Length: "); ok {
			k, _ := strconv.Atoi(n)
			if _, err := io.ReadFull(c.nc, make([]byte, k)); err != nil {
				return "", err
			}
		}
		if v, ok := strings.CutPrefix(line, "Session: "); ok {
			id, _, _ := strings.Cut(v, ";")
			c.session = "Session: " + id + "\r\n"
		}
	}
	return string(head), nil
}

// frame reads an interleaved frame and returns its channel and packet.
func (c *rtspClient) frame() (byte, []byte, error) {
	var head [4]byte
	_ = c.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(c.nc, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint16(head[2:]))
	c.buf = slices.Grow(c.buf[:0], n)[:n]
	_, err := io.ReadFull(c.nc, c.buf)
	return head[1], c.buf, err
}

// start plays everything from there on.
func (c *rtspClient) start(from int64, headers ...string) error {
	url := "rtsp://127.0.0.1/gate?start=" + at(from).String()
	if _, err := c.ask("DESCRIBE", url); err != nil {
		return err
	}
	if _, err := c.ask("SETUP", url+"/trackID=0", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"); err != nil {
		return err
	}
	_, err := c.ask("PLAY", url, headers...)
	return err
}

// rusage returns the processor time of this process.
func rusage(t testing.TB) time.Duration {
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fromEnv is a number that the environment may set.
func fromEnv(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// TestFirstPacketOfAReplayAnywhereInALongArchive: at random moments of an archive with a
// fragment a second on two recorders. DUET_REPLAY_DAYS=30 DUET_REPLAY_N=2000 measures.
func TestFirstPacketOfAReplayAnywhereInALongArchive(t *testing.T) {
	seconds, n := fromEnv("DUET_REPLAY_DAYS", 1)*86400, fromEnv("DUET_REPLAY_N", 50)
	long := longArchive(t, footageOptions{}, seconds)
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	long.on(r1, r2)
	s := newSite(t, withRTSP(t), r1, r2)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	var play, whole []time.Duration
	for range n {
		from := long.frags[0].ref.StartNS + dice.Int64N(int64(seconds-20)*1e9)
		c, err := s.dialRTSP()
		require.NoError(t, err)
		began := time.Now()
		url := "rtsp://127.0.0.1/gate?start=" + at(from).String()
		_, err = c.ask("DESCRIBE", url)
		require.NoError(t, err)
		_, err = c.ask("SETUP", url+"/trackID=0", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
		require.NoError(t, err)
		played := time.Now()
		_, err = c.ask("PLAY", url)
		require.NoError(t, err)
		for channel := byte(1); channel != 0; {
			channel, _, err = c.frame()
			require.NoError(t, err)
		}
		play, whole = append(play, time.Since(played)), append(whole, time.Since(began))
		require.NoError(t, c.nc.Close())
	}
	slices.Sort(play)
	slices.Sort(whole)
	t.Logf("%d days, %d replays: first packet after PLAY p50 %v p99 %v; after connecting p50 %v p99 %v",
		seconds/86400, n, play[n/2], play[n*99/100], whole[n/2], whole[n*99/100])
	require.Less(t, play[n/2], time.Second) // 50 ms is for idle machines
}

// TestManyReplaysAtRealTime: DUET_REPLAY_SESSIONS=200 DUET_REPLAY_SECONDS=30 measures. The
// processor time is that of playback, its clients and the fake recorders together.
func TestManyReplaysAtRealTime(t *testing.T) {
	sessions, lasts := fromEnv("DUET_REPLAY_SESSIONS", 20), time.Duration(fromEnv("DUET_REPLAY_SECONDS", 2))*time.Second
	long := longArchive(t, footageOptions{}, 7200)
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	long.on(r1, r2)
	s := newSite(t, withRTSP(t), r1, r2)
	var wg sync.WaitGroup
	var packets, bytes, failed atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	before := liveHeap()
	for i := range sessions {
		wg.Go(func() {
			c, err := s.dialRTSP()
			if err == nil {
				defer c.nc.Close()
				err = c.start(long.frags[i*7%3600].ref.StartNS)
			}
			for err == nil && ctx.Err() == nil {
				var b []byte
				if _, b, err = c.frame(); err == nil {
					packets.Add(1)
					bytes.Add(int64(len(b)))
				}
			}
			if err != nil {
				failed.Add(1)
			}
		})
	}
	require.Eventually(t, func() bool { return packets.Load() > int64(sessions)*25 }, 30*time.Second, 10*time.Millisecond)
	began, cpu, p0, b0 := time.Now(), rusage(t), packets.Load(), bytes.Load()
	<-time.After(lasts) // what is measured is what happens meanwhile
	took := time.Since(began)
	more := float64(liveHeap()) - float64(before)
	t.Logf("%d replays: %.2f cores, %.0f packets/s, %.1f Mbit/s, heap %.1f MB more (%.0f kB a session)", sessions,
		(rusage(t)-cpu).Seconds()/took.Seconds(), float64(packets.Load()-p0)/took.Seconds(), float64(bytes.Load()-b0)*8e-6/took.Seconds(),
		more/1e6, more/1e3/float64(sessions))
	cancel()
	wg.Wait()
	require.Zero(t, failed.Load())
	require.Greater(t, packets.Load()-p0, int64(float64(sessions)*took.Seconds()*25/2), "real time")
}
