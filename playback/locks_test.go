package playback

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/nodepb"
)

type lockAnswer struct {
	ID, Camera, Reason, By string
	Start, End             time.Time
	InForce, Pending       []string
	Released               *time.Time
}

func (s *site) post(path string, body any) (*http.Response, []byte) {
	s.t.Helper()
	b, err := json.Marshal(body)
	require.NoError(s.t, err)
	resp, answer, err := s.doBody(http.MethodPost, s.base+path, strings.NewReader(string(b)), "Content-Type", "application/json")
	require.NoError(s.t, err)
	return resp, answer
}

func (s *site) place(from, to int64) lockAnswer {
	s.t.Helper()
	resp, body := s.post("/v1/locks", map[string]string{"camera": "gate", "start": at(from).String(), "end": at(to).String(), "reason": "theft", "by": "ann"})
	require.Equal(s.t, http.StatusCreated, resp.StatusCode, "%s", body)
	var l lockAnswer
	require.NoError(s.t, json.Unmarshal(body, &l))
	return l
}

func (s *site) locks() []lockAnswer {
	s.t.Helper()
	var all struct{ Locks []lockAnswer }
	s.json("/v1/locks", &all)
	return all.Locks
}

func TestALockIsPlacedOnEveryRecorderAndSaysWhoMissesIt(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1, r2, r3 := newFake(t, "r1"), newFake(t, "r2"), newFake(t, "r3")
	f.on(r1, r2)
	s := newSite(t, nil, r1, r2, r3)
	r2.kill()
	require.Eventually(t, func() bool { return s.pool.recorders[1].view().State == StateDown }, 10*time.Second, 5*time.Millisecond)

	l := s.place(frameNS(100), frameNS(200))
	require.Equal(t, []string{"r1", "r3"}, l.InForce, "also where the camera may be recorded one day")
	require.Equal(t, []string{"r2"}, l.Pending)
	all := s.locks()
	require.Len(t, all, 1)
	require.Equal(t, l.ID, all[0].ID)
	require.Equal(t, "theft", all[0].Reason)
	require.Equal(t, []string{"r2"}, all[0].Pending)

	var tl struct {
		Locked []struct {
			Start, End   time.Time
			Lock, Reason string
		}
	}
	s.json("/v1/cameras/gate/timeline?"+url.Values{"start": {at(frameNS(150)).String()}, "end": {at(frameNS(300)).String()}}.Encode(), &tl)
	require.Len(t, tl.Locked, 1)
	require.Equal(t, frameNS(150), tl.Locked[0].Start.UnixNano(), "cut to the range")
	require.Equal(t, frameNS(200), tl.Locked[0].End.UnixNano())
	require.Equal(t, l.ID, tl.Locked[0].Lock)

	resp, body, err := s.do(http.MethodDelete, s.base+"/v1/locks/"+l.ID+"?by=bob")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s", body)
	var released lockAnswer
	require.NoError(t, json.Unmarshal(body, &released))
	require.NotNil(t, released.Released)
	require.Empty(t, released.InForce)
	require.Equal(t, []string{"r2"}, released.Pending)
	require.Empty(t, s.locks())
	resp, body, err = s.do(http.MethodDelete, s.base+"/v1/locks/"+l.ID)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, "to release it twice is no error: %s", body)
	s.place(frameNS(100), frameNS(200)) // and the range can be locked again
}

func TestLocksThatCannotBeAreRefusedWithTheReason(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r1, r2)
	s := newSite(t, nil, r1, r2)
	held := s.place(frameNS(100), frameNS(200))
	a, b := at(frameNS(300)).String(), at(frameNS(400)).String()
	for name, c := range map[string]struct {
		camera, start, end, reason string
		status                     int
		typ, field, says           string
	}{
		"inverted":            {"gate", b, a, "x", 400, problemRange, "end", "end must be after start"},
		"empty":               {"gate", a, a, "x", 400, problemRange, "end", "end must be after start"},
		"no start":            {"gate", "", b, "x", 400, problemTime, "start", "missing"},
		"in the future":       {"gate", a, time.Now().Add(time.Hour).Format(time.RFC3339), "x", 400, problemFuture, "end", "it is now"},
		"no reason":           {"gate", a, b, " ", 400, problemLockText, "reason", "empty"},
		"a reason of a book":  {"gate", a, b, strings.Repeat("x", 1001), 400, problemLockText, "reason", "1001"},
		"no camera":           {"", a, b, "x", 404, problemCamera, "camera", "No camera"},
		"unknown camera":      {"door", a, b, "x", 404, problemCamera, "camera", `"door"`},
		"no footage there":    {"gate", "2026-02-28T12:00:00Z", "2026-02-28T12:00:10Z", "x", 404, problemEmpty, "", "No recorder has footage"},
		"overlaps another":    {"gate", at(frameNS(150)).String(), b, "x", 409, problemLocked, "start", held.ID},
		"the same once more":  {"gate", at(frameNS(100)).String(), at(frameNS(200)).String(), "x", 409, problemLocked, "start", held.ID},
		"covers another lock": {"gate", at(frameNS(50)).String(), b, "x", 409, problemLocked, "start", "release it first"},
	} {
		t.Run(name, func(t *testing.T) {
			in := map[string]string{"camera": c.camera, "start": c.start, "end": c.end, "reason": c.reason}
			resp, body := s.post("/v1/locks", in)
			require.Equal(t, c.status, resp.StatusCode, "%s", body)
			p := requireProblem(t, resp, body, c.typ)
			require.Equal(t, c.field, p.Field)
			require.Contains(t, p.Detail, c.says)
		})
	}
	t.Run("the disk has no room for it", func(t *testing.T) {
		r2.mu.Lock()
		r2.room = &nodepb.LockRoomReply{Disks: []*nodepb.LockRoom{{Path: "/srv/a", LockedBytes: 700, AddedBytes: 123, LimitBytes: 800, Refused: true}}}
		r2.mu.Unlock()
		resp, body := s.post("/v1/locks", map[string]string{"camera": "gate", "start": a, "end": b, "reason": "x"})
		require.Equal(t, http.StatusInsufficientStorage, resp.StatusCode, "%s", body)
		p := requireProblem(t, resp, body, problemLocksFull)
		for _, says := range []string{"r2", "/srv/a", "700", "123", "800"} {
			require.Contains(t, p.Detail, says)
		}
	})
	require.Len(t, s.locks(), 1, "nothing of it was placed")
	resp, body, err := s.do(http.MethodDelete, s.base+"/v1/locks/nothing")
	require.NoError(t, err)
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
	requireProblem(t, resp, body, problemLock)
	resp, body, err = s.do(http.MethodPut, s.base+"/v1/locks")
	require.NoError(t, err)
	require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
	require.Equal(t, "GET, HEAD, POST", resp.Header.Get("Allow"))
	requireProblem(t, resp, body, problemMethod)
}

func TestNobodyToKeepALockIsAnError(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1 := newFake(t, "r1")
	f.on(r1)
	s := newSite(t, nil, r1)
	l := s.place(frameNS(100), frameNS(200))
	r1.kill()
	require.Eventually(t, func() bool { return s.pool.recorders[0].view().State == StateDown }, 10*time.Second, 5*time.Millisecond)
	resp, body, err := s.do(http.MethodDelete, s.base+"/v1/locks/"+l.ID)
	require.NoError(t, err)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	p := requireProblem(t, resp, body, problemSilent)
	require.Equal(t, []string{"r1"}, p.Recorders)
}
