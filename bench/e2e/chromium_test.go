package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
)

// page plays /clip.mp4 to its end and says what it saw.
const page = `<!doctype html><title>duet</title><video id=v muted></video><script>
const v = document.getElementById("v")
const say = (extra) => fetch("/said", {method: "POST", body: JSON.stringify({
  time: v.currentTime, duration: v.duration, width: v.videoWidth, error: v.error ? v.error.message : "",
  frames: v.getVideoPlaybackQuality().totalVideoFrames, ...extra})})
v.onended = () => say({ended: true})
v.onerror = () => say({})
v.src = "/clip.mp4"
v.play().catch((e) => say({error: String(e)}))
</script>`

// TestExportPlaysInChromium: a browser plays an export that begins between key frames,
// from its first picture to its last.
func TestExportPlaysInChromium(t *testing.T) {
	t.Parallel()
	sim, list := cameras(t, []camsim.CameraOptions{{Name: "gate", Video: "h264b", Audio: "aac"}})
	s := startSite(t, siteOptions{cameras: list})
	from := time.Now().Add(530 * time.Millisecond).Truncate(time.Millisecond)
	to := from.Add(4 * time.Second)
	time.Sleep(time.Until(to))
	s.waitDurable(t, to, 20*time.Second)
	clip := s.export(t, "gate", from, to)
	require.NoError(t, s.checkExport(t, sim.Camera("gate"), from, to).Err())

	type said struct {
		Time, Duration float64
		Width, Frames  int
		Error          string
		Ended          bool
	}
	answers := make(chan said, 16)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(page))
	})
	mux.HandleFunc("/clip.mp4", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, clip) })
	mux.HandleFunc("/said", func(_ http.ResponseWriter, r *http.Request) {
		var a said
		if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
			a.Error = err.Error()
		}
		answers <- a
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	browser := startTool(t, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
		"--user-data-dir="+t.TempDir(), server.URL)
	select {
	case a := <-answers:
		t.Logf("%+v", a)
		require.Empty(t, a.Error)
		require.True(t, a.Ended)
		// Chromium plays B-frames' references behind the end, which the edit list hides, too.
		require.InDelta(t, to.Sub(from).Seconds(), a.Duration, 0.25)
		require.InDelta(t, a.Duration, a.Time, 0.15)
		require.Equal(t, 640, a.Width)
		require.GreaterOrEqual(t, a.Frames, 90, "pictures of 4 s at 25 a second")
	case <-time.After(60 * time.Second):
		_ = browser.cmd.Process.Kill()
		out, _ := browser.wait(5 * time.Second)
		t.Fatalf("the page says nothing; chromium:\n%s", out)
	}
	_ = browser.cmd.Process.Kill()
	_, _ = browser.wait(5 * time.Second)
}
