package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/config"
	"github.com/duet-video/duet/internal/pki"
)

// duet runs the command line and returns what it said.
func duet(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code = execute(ctx, args, &out, &errs)
	require.NotContains(t, errs.String(), "goroutine ", "a stack trace")
	return code, out.String(), errs.String()
}

const siteFile = `cameras:
  - {name: gate, source: "rtsp://user:geheim@127.0.0.1:1/gate"}
proxies:
  - {name: p1, link: "127.0.0.1:%d", rtsp: "127.0.0.1:%d", http: "127.0.0.1:%d"}
recorders:
  - {name: r1, role: primary, http: "127.0.0.1:%d", data: r1}
  - {name: r2, role: redundant, http: "127.0.0.1:%d", data: r2}
playback:
  - {name: v1, http: "127.0.0.1:%d"}
`

// writeSite writes a file with free ports, changed by pairs of old and new text.
func writeSite(t *testing.T, change ...string) string {
	t.Helper()
	var picker portPicker
	var ports []any
	for range 6 {
		ports = append(ports, picker.pick(0))
	}
	require.NoError(t, picker.err)
	file := filepath.Join(t.TempDir(), "duet.yaml")
	text := strings.NewReplacer(change...).Replace(fmt.Sprintf(siteFile, ports...))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func TestErrorsAreOneClearLineAndTheRightExitCode(t *testing.T) {
	good := writeSite(t)
	typo := writeSite(t, "role: primary", "role: primery")
	ca, cut := t.TempDir(), filepath.Join(t.TempDir(), "cut.mp4")
	_, err := pki.EnsureCA(ca)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(cut, make([]byte, 5000), 0o600))
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"unknown command":       {[]string{"chek"}, exitUsage, `did you mean "check"?`},
		"unknown flag":          {[]string{"check", "--fast"}, exitUsage, "unknown flag --fast"},
		"no file":               {[]string{"check", "-c", "/nowhere/duet.yaml"}, exitFailed, "/nowhere/duet.yaml does not exist"},
		"typo in the file":      {[]string{"up", "-c", typo}, exitUsage, `duet.yaml:6:16: recorders[0].role: "primery" is not one of primary, redundant: did you mean "primary"?`},
		"unknown node":          {[]string{"recorder", "-c", good, "--name", "r9"}, exitUsage, "there is no r9 in recorders"},
		"node without name":     {[]string{"proxy", "-c", good}, exitUsage, "--name"},
		"no certificates":       {[]string{"recorder", "-c", good, "--name", "r1"}, exitFailed, "certificate of node r1"},
		"status without any":    {[]string{"status", "-c", good}, exitFailed, "a node's certificate is needed"},
		"bad time":              {[]string{"export", "gate", "--from", "yesterday", "-o", "x.mp4", "-c", good}, exitUsage, `--from: time "yesterday"`},
		"inverted range":        {[]string{"export", "gate", "--from", "-1m", "--to", "-2m", "-o", "x.mp4", "-c", good}, exitUsage, "is not before"},
		"verify what":           {[]string{"verify"}, exitUsage, "--data"},
		"verify no recorder's":  {[]string{"verify", "--data", t.TempDir()}, exitFailed, "is not the data directory of a recorder"},
		"verify a cut export":   {[]string{"verify", cut, "--ca", filepath.Join(ca, "ca.crt")}, exitFailed, "cut.mp4: it does not end with a manifest: it is no export of duet, or it was cut short"},
		"too many cameras":      {[]string{"camsim", "-n", "0"}, exitUsage, "1 … 10000"},
		"playback does not run": {[]string{"export", "gate", "--from", "-1m", "-o", filepath.Join(t.TempDir(), "x.mp4"), "--url", "nonsense"}, exitUsage, "http://host:port"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := duet(t, tc.args...)
			require.Equal(t, tc.code, code, stderr)
			require.Contains(t, stderr, tc.want)
			require.Empty(t, stdout)
			require.NotContains(t, stderr, "geheim")
			if !strings.Contains(stderr, "\n    | ") { // a line of the file under it
				require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
			}
		})
	}
}

func TestHelpAndVersionAndExample(t *testing.T) {
	for _, args := range [][]string{nil, {"--help"}, {"export", "--help"}, {"version"}} {
		code, stdout, stderr := duet(t, args...)
		require.Equal(t, exitDone, code)
		require.NotEmpty(t, stdout)
		require.Empty(t, stderr)
	}
	code, stdout, _ := duet(t, "config")
	require.Equal(t, exitDone, code)
	require.Equal(t, config.Example, stdout)
}

func TestCertsMakesWhatIsMissingAndKeepsTheRest(t *testing.T) {
	file := writeSite(t)
	code, stdout, stderr := duet(t, "certs", "-c", file)
	require.Equal(t, exitDone, code, stderr)
	require.Equal(t, 6, strings.Count(stdout, "made "), stdout) // the CA, four nodes, and what playback signs with
	code, stdout, _ = duet(t, "certs", "-c", file)
	require.Equal(t, exitDone, code)
	require.Equal(t, 6, strings.Count(stdout, "kept "), stdout)
	_, err := os.Stat(filepath.Join(filepath.Dir(file), "tls", "r2.key"))
	require.NoError(t, err)
}

func TestUpNamesEveryBusyPortItsKeyAndItsOwner(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	addr := config.Address(l.Addr().String())
	err = refuseBusyPorts(t.Context(), []siteNode{
		{role: "proxy", name: "p1", listens: []listenKey{{"proxies[0].rtsp", addr}}},
		{role: "recorder", name: "r1", listens: []listenKey{{"recorders[0].http", "192.0.2.1:1"}}},
	})
	require.ErrorContains(t, err, "proxies[0].rtsp (p1): address "+l.Addr().String()+" is in use by duet.test (pid "+fmt.Sprint(os.Getpid())+")")
	require.ErrorContains(t, err, "recorders[0].http (r1): 192.0.2.1:1 is not an address of this machine")
}

func TestNodesOfOtherMachinesAreNotStartedHere(t *testing.T) {
	cfg, err := config.Load(writeSite(t, "name: r2, role: redundant, http: \"127.0.0.1", "name: r2, role: redundant, http: \"192.0.2.7"))
	require.NoError(t, err)
	s := &site{Config: cfg}
	var names []string
	for _, n := range s.nodes(func(a config.Address) bool { return isLocal(t.Context(), a) }) {
		names = append(names, n.name)
	}
	require.Equal(t, []string{"r1", "p1", "v1"}, names, "recorders first, so that they end last")
}

func TestTimesAsPeopleWriteThem(t *testing.T) {
	zone := time.FixedZone("X", 2*3600)
	now := time.Date(2026, 5, 4, 12, 30, 0, 0, zone)
	for text, want := range map[string]time.Time{
		"now":                       now,
		"-5m":                       now.Add(-5 * time.Minute),
		"-1h30m":                    now.Add(-90 * time.Minute),
		"2026-05-01T10:00:00Z":      time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC),
		"2026-05-01T10:00:00.5Z":    time.Date(2026, 5, 1, 10, 0, 0, 5e8, time.UTC),
		"2026-05-01T10:00:00+01:00": time.Date(2026, 5, 1, 9, 0, 0, 0, time.UTC),
		"2026-05-01 10:00:00":       time.Date(2026, 5, 1, 10, 0, 0, 0, zone),
		"2026-05-01 10:00":          time.Date(2026, 5, 1, 10, 0, 0, 0, zone),
		"10:00:07":                  time.Date(2026, 5, 4, 10, 0, 7, 0, zone),
	} {
		got, err := parseTime(text, now)
		require.NoError(t, err, text)
		require.True(t, want.Equal(got), "%s: %s", text, got)
	}
	for _, text := range []string{"", "-", "-5", "tomorrow", "2026-13-01 10:00:00", "25:00"} {
		_, err := parseTime(text, now)
		require.Error(t, err, text)
	}
	require.Equal(t, []string{"export", "x", "--from=-5m", "--to=-1m", "-o", "f"}, joinTimes([]string{"export", "x", "--from", "-5m", "--to", "-1m", "-o", "f"}))
}

func TestTableAlignsWhateverTheColours(t *testing.T) {
	tb := newTable("NAME", ">N", "STATE")
	tb.row("gate", "7", painter(true).by(green, "ok"))
	tb.row("a", "1234", "späť")
	require.Equal(t, "NAME     N  STATE\ngate     7  \x1b[32mok\x1b[0m\na     1234  späť\n", tb.String())
	require.Equal(t, "ab\x1b[32mcd\x1b[0m", clip("ab\x1b[32mcdef\x1b[0m", 4))
}
