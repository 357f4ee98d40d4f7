package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// good is a file without a problem; tests spoil a line of it.
const good = `cameras:
  - name: gate
    source: "rtsp://user:pass@10.0.0.11/stream1"
  - {name: yard, source: "rtsp://10.0.0.12/s", primary: r1, redundant: r2}
proxies:
  - {name: p1, link: "10.0.0.2:7400", rtsp: ":8554", http: ":9101"}
recorders:
  - {name: r1, role: primary, http: "10.0.0.3:9102", data: /data/r1, quota: 4TB}
  - {name: r2, role: redundant, http: "10.0.0.4:9103", data: /data/r2, quota: 4TB}
playback:
  - {name: v1, http: ":8080"}
retention: {age: 30d}
readers:
  - {user: vms, password: "geheim"}
`

func problems(t *testing.T, text string) []Problem {
	t.Helper()
	_, err := Parse("duet.yaml", []byte(text))
	if err == nil {
		return nil
	}
	var e *Error
	require.ErrorAs(t, err, &e)
	return e.Problems
}

func TestGoodFileHasItsDefaults(t *testing.T) {
	c, err := Parse("site/duet.yaml", []byte(good))
	require.NoError(t, err)
	gate := c.Cameras[0]
	require.Equal(t, "tcp", gate.Transport)
	require.Equal(t, "arrival", gate.Clock)
	require.Equal(t, "dual", gate.Copies)
	require.Equal(t, "p1", gate.Proxy)
	require.Equal(t, "rtsp://user:pass@10.0.0.11/stream1", gate.Source.Reveal())
	require.Equal(t, Bytes(4e12), c.FindRecorder("r1").Quota)
	require.Equal(t, Duration(30*24*time.Hour), c.RetentionOf(&gate).Age)
	require.Equal(t, 20, c.Log.Seconds)
	wd, err := os.Getwd()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(wd, "site", "tls"), c.TLS.Dir)
	require.Equal(t, "geheim", c.Readers[0].Password.Reveal())
	require.Equal(t, "127.0.0.1:8080", c.FindPlayback("v1").HTTP.Dial())
	require.Equal(t, "10.0.0.3:9102", c.FindRecorder("r1").HTTP.Dial())
	require.Nil(t, c.FindProxy("p2"))
}

func TestExampleIsWholeAndValid(t *testing.T) {
	c, err := Parse("duet.yaml", []byte(Example))
	require.NoError(t, err)
	require.NoError(t, c.Expand(func(n string) (string, bool) { return "x-" + n, true }))
	require.Equal(t, "rtsp://viewer:x-GATE_PASSWORD@10.0.0.11/stream1", c.Cameras[0].Source.Reveal())
	// Every key that can be set is in the example.
	for _, key := range allKeys(c) {
		require.Contains(t, Example, key+":", "the example lacks the key")
	}
}

func TestDocumentationHasEveryKey(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "CONFIG.md"))
	require.NoError(t, err)
	for _, key := range allKeys(&Config{}) {
		require.Regexp(t, "(?m)^\\|.*`"+key+"`", string(doc))
	}
	require.Contains(t, string(doc), strings.TrimSpace(Example), "docs/CONFIG.md holds another example than `duet config` prints")
}

func TestAQuotaThatIsLessThanASegmentIsAProblem(t *testing.T) {
	small := strings.Replace(strings.Replace(good, "primary: r1,", "bitrate: 4Mbit/s, primary: r1,", 1), "data: /data/r1, quota: 4TB", "data: /data/r1, quota: 100MB", 1)
	got := problems(t, small)
	require.Len(t, got, 1)
	require.Contains(t, fmt.Sprint(got[0]), "recorders[0].quota: 100 MB is less than one segment of camera yard, 300 MB")
	require.Empty(t, problems(t, strings.Replace(small, "100MB", "301MB", 1)))
	disk := strings.Replace(small, "data: /data/r1, quota: 100MB", "data: [{path: /data/a, quota: 100MB}, {path: /data/b}]", 1)
	got = problems(t, disk)
	require.Len(t, got, 1)
	require.Contains(t, fmt.Sprint(got[0]), "recorders[0].data[0].quota: 100 MB is less than one segment")
}

func TestEachProblemIsOneLineWithItsPlace(t *testing.T) {
	for name, tc := range map[string]struct {
		old, new string // what is spoilt
		line     int
		want     string
	}{
		"unknown key":               {"source: \"rtsp://user:pass", "sorce: \"rtsp://user:pass", 3, `unknown key "sorce" in cameras[0]: did you mean "source"?`},
		"unknown section":           {"retention:", "retentoin:", 12, `unknown key "retentoin": did you mean "retention"?`},
		"a key that does nothing":   {`http: ":8080"`, `http: ":8080", srt: ":8555"`, 11, `unknown key "srt" in playback[0]`},
		"wrong type":                {"cameras:\n", "cameras: 7\nlink:\n", 1, `cameras: want a list (lines that begin with -), have a number`},
		"list for a text":           {"quota: 4TB}\n  - {name: r2", "quota: [1]}\n  - {name: r2", 8, `recorders[0].quota: want a text, have a list`},
		"no number":                 {"retention: {age: 30d}", "log: {seconds: soon}", 12, `log.seconds: want a whole number, have "soon"`},
		"bad unit":                  {"age: 30d", "age: 30 days", 12, `retention.age: want a time span such as 500ms, 10s, 36h, 30d or 2w, have "30 days"`},
		"bad bytes":                 {"quota: 4TB}\nplay", "quota: 4 lots}\nplay", 9, `recorders[1].quota: want an amount of bytes`},
		"choice":                    {"role: redundant", "role: redundent", 9, `recorders[1].role: "redundent" is not one of primary, redundant: did you mean "redundant"?`},
		"duplicate camera":          {"name: yard", "name: Gate", 4, `cameras[1].name: camera "Gate" is also the name of cameras[0] in line 2`},
		"duplicate node":            {"name: v1", "name: p1", 11, `playback[0].name: node "p1" is also the name of proxies[0] in line 6`},
		"bad name":                  {"name: yard", "name: ../yard", 4, `cameras[1].name: "../yard" is not a name`},
		"the CA's name":             {"name: v1", "name: ca", 11, `playback[0].name: "ca" is the name of the site's certificate authority`},
		"missing name":              {"name: yard, ", "", 4, `cameras[1].name: missing`},
		"missing source":            {", source: \"rtsp://10.0.0.12/s\"", "", 4, `cameras[1].source: missing`},
		"not RTSP":                  {"rtsp://10.0.0.12/s", "http://10.0.0.12/s", 4, `cameras[1].source: want rtsp://`},
		"one recorder, both copies": {"redundant: r2}", "redundant: r1}", 4, `cameras[1].redundant: both copies of camera yard would go to recorder r1`},
		"unknown recorder":          {"primary: r1", "primary: r7", 4, `cameras[1].primary: there is no recorder "r7": did you mean "r1"?`},
		"unknown proxy":             {"primary: r1", "proxy: p9", 4, `cameras[1].proxy: there is no proxy "p9": did you mean "p1"?`},
		"no redundant recorder":     {"role: redundant", "role: primary", 7, `recorders: none has role redundant`},
		"port twice in a node":      {`http: ":9101"`, `http: ":8554"`, 6, `proxies[0].http: port 8554 of p1 is taken by rtsp of p1 in line 6`},
		"port twice on a machine":   {`"10.0.0.4:9103"`, `"10.0.0.3:9102"`, 9, `recorders[1].http: port 9102 of r2 is taken by http of r1 in line 8`},
		"port of the proxy's host":  {`"10.0.0.4:9103"`, `"10.0.0.2:8554"`, 9, `recorders[1].http: port 8554 of r2 is taken by rtsp of p1 in line 6`},
		"bad address":               {`"10.0.0.4:9103"`, `10.0.0.4`, 9, `recorders[1].http: want host:port, or :port for this machine, have "10.0.0.4"`},
		"odd UDP port":              {`http: ":9101"`, `http: ":9101", udp: 8001`, 6, `proxies[0].udp: 8001 is odd`},
		"bad port":                  {`"10.0.0.4:9103"`, `"10.0.0.4:99103"`, 9, `recorders[1].http: port "99103" is not in 1 … 65535`},
		"key twice":                 {"retention: {age: 30d}", "retention: {age: 30d, age: 31d}", 12, `already defined`},
		"not YAML":                  {"cameras:", "cameras: [", 0, `not YAML`},
		"second document":           {"retention:", "---\nretention:", 12, `a second document`},
		"fragment past the log":     {"retention: {age: 30d}", "fragment: {max: 30s}", 12, `fragment.max: 30s does not fit into log.seconds, 20`},
		"fragment.min > max":        {"retention: {age: 30d}", "fragment: {min: 11s}", 12, `fragment.min: 11s is more than fragment.max, 10s`},
		"segment too short":         {"retention: {age: 30d}", "segment: {duration: 5s}", 12, `segment.duration: 5s is less than fragment.max, 10s`},
		"a repair rate of 0":        {"retention: {age: 30d}", "repair: {rate: 0}", 12, `repair.rate: 0 B per second is less than 64KiB`},
		"repair order":              {"retention: {age: 30d}", "repair: {order: newst}", 12, `repair.order: "newst" is not one of newest, oldest, off: did you mean "newest"?`},
		"log over total":            {"retention: {age: 30d}", "log: {bytes: 3GiB}", 12, `log.bytes: 3.2 GB for one camera is more than log.total, 2.1 GB`},
		"empty password":            {`"geheim"`, `""`, 14, `readers[0].password: missing`},
		"user twice":                {"  - {user: vms, password: \"geheim\"}\n", "  - {user: vms, password: \"geheim\"}\n  - {user: vms, password: x}\n", 15, `readers[1].user: "vms" is also the user of readers[0]`},
		"unknown alias":             {"name: yard", "name: *yard", 4, `nothing before this is marked &yard`},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, good, tc.old)
			got := problems(t, strings.Replace(good, tc.old, tc.new, 1))
			require.NotEmpty(t, got)
			var all []string
			for _, p := range got {
				all = append(all, fmt.Sprintf("%d:%d %s", p.Line, p.Column, p.Message))
				require.NotContains(t, p.Message+p.Source, "\n")
				require.NotContains(t, p.Message+p.Source, "geheim")
				require.NotContains(t, p.Message+p.Source, "pass@")
				if strings.Contains(p.Message, tc.want) && (tc.line == 0 || p.Line == tc.line) {
					if p.Line > 0 {
						require.NotEmpty(t, p.Source)
						require.Positive(t, p.Column)
					}
					return
				}
			}
			t.Fatalf("want line %d: %s\nhave %s", tc.line, tc.want, strings.Join(all, "\n     "))
		})
	}
}

func TestSameDataDirectoryOnOneMachineIsRefused(t *testing.T) {
	text := strings.NewReplacer("10.0.0.3:", ":", "10.0.0.4:", "127.0.0.1:", "/data/r2", "/data/r1/b").Replace(good)
	got := problems(t, text)
	require.Len(t, got, 1)
	require.Contains(t, got[0].Message, "recorders[1].data: recorder r1 has /data/r1 on the same machine")
}

func TestSeveralProxiesNeedAChoice(t *testing.T) {
	text := strings.Replace(good, "recorders:\n", "  - {name: p2, link: \"10.0.0.9:7400\", rtsp: \":8554\", http: \":9101\"}\nrecorders:\n", 1)
	got := problems(t, text)
	require.Len(t, got, 2, "one for each camera, and no port conflict between machines: %v", got)
	require.Contains(t, got[0].Message, "cameras[0].proxy: missing: there are 2 proxies")
}

func TestAllProblemsAreFoundAtOnceInOrder(t *testing.T) {
	text := strings.NewReplacer("name: yard", "nmae: yard", "role: primary", "role: boss", "age: 30d", "age: never", ":8080", "8080").Replace(good)
	got := problems(t, text)
	require.GreaterOrEqual(t, len(got), 5)
	for i := range got[1:] {
		require.LessOrEqual(t, got[i].Line, got[i+1].Line)
	}
	_, err := Parse("duet.yaml", []byte(text))
	require.Contains(t, err.Error(), "duet.yaml:4:6: unknown key \"nmae\" in cameras[1]: did you mean \"name\"?\n    | - {nmae: …")
}

func TestEmptyFileNamesTheMissingSections(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "retention: {age: 1d}\n"} {
		got := problems(t, text)
		require.Len(t, got, 3, "%q: %v", text, got)
		var all strings.Builder
		for _, p := range got {
			all.WriteString(p.Message + "\n")
		}
		for _, section := range []string{"cameras", "proxies", "recorders"} {
			require.Contains(t, all.String(), section+": missing")
		}
	}
}

func TestCredentialsAreNeverShown(t *testing.T) {
	c, err := Parse("duet.yaml", []byte(good))
	require.NoError(t, err)
	j, err := json.Marshal(c)
	require.NoError(t, err)
	for _, text := range []string{fmt.Sprintf("%v", c), fmt.Sprintf("%+v", *c), fmt.Sprintf("%#v", c.Cameras), fmt.Sprintf("%#v", c.Readers), fmt.Sprintf("%s", c.Readers), string(j)} {
		require.NotContains(t, text, "geheim")
		require.NotContains(t, text, "user:pass")
	}

	// Nor when the file is broken right there.
	for _, spoilt := range []string{
		strings.Replace(good, "password:", "pasword:", 1),
		strings.Replace(good, "password:", "pw:", 1),
		strings.Replace(good, "user: vms, ", "password: \"geheim\", usr: x, ", 1),
		strings.Replace(good, "source: \"rtsp://user:pass@10.0.0.11/stream1\"", "source: rtsp://user:pass@10.0.0.11/%zz", 1),
		strings.Replace(good, "source: \"rtsp://user:pass@10.0.0.11/stream1\"", "source: \"rtsp://user:pass@", 1),
		strings.Replace(good, "source: \"rtsp://user:pass@10.0.0.11/stream1\"", "source: [\"rtsp://user:pass@10.0.0.11/stream1\"]", 1),
		strings.Replace(good, "source: \"rtsp://user:pass@10.0.0.11/stream1\"", "source: \"rtsp://user:pass@/stream1\"", 1),
		strings.Replace(good, "\"geheim\"", "{geheim: 1}", 1),
		strings.Replace(good, "\"geheim\"", "\"geheim", 1),
	} {
		_, err := Parse("duet.yaml", []byte(spoilt))
		require.Error(t, err)
		require.NotContains(t, err.Error(), "geheim")
		require.NotContains(t, err.Error(), "pass@")
	}
}

func TestVariablesAreExpandedWhereTheyAreNeeded(t *testing.T) {
	text := strings.NewReplacer("user:pass@", "${USER}:${PASS}@", "rtsp://10.0.0.12/s", "${YARD}", "geheim", "${VMS}").Replace(good)
	c, err := Parse("duet.yaml", []byte(text))
	require.NoError(t, err, "a recorder's machine need not have the variables")

	env := map[string]string{"USER": "me", "PASS": "p@:/ ?#%ä", "YARD": "rtsp://a:b@10.0.0.12/s", "VMS": "x y"}
	lookup := func(n string) (string, bool) { v, ok := env[n]; return v, ok }
	require.NoError(t, c.Expand(lookup))
	require.Equal(t, "rtsp://me:p%40%3A%2F%20%3F%23%25%C3%A4@10.0.0.11/stream1", c.Cameras[0].Source.Reveal())
	require.Equal(t, env["YARD"], c.Cameras[1].Source.Reveal())
	require.Equal(t, "x y", c.Readers[0].Password.Reveal())

	delete(env, "PASS")
	env["YARD"], env["VMS"] = "ftp://geheim@x", ""
	c, err = Parse("duet.yaml", []byte(text))
	require.NoError(t, err)
	err = c.Expand(lookup)
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Len(t, e.Problems, 3)
	require.Contains(t, e.Problems[0].Message, "the environment variable PASS is not set")
	require.Equal(t, 3, e.Problems[0].Line)
	require.NotContains(t, err.Error(), "geheim")
}

func TestUnits(t *testing.T) {
	for text, want := range map[string]time.Duration{"30d": 720 * time.Hour, "1w2d3h": 219 * time.Hour, "500ms": 500 * time.Millisecond, "0s": 0, "0": 0} {
		var d Duration
		require.NoError(t, d.parse(text), text)
		require.Equal(t, want, time.Duration(d), text)
	}
	for _, text := range []string{"", "-1s", "5", "d", "1d2w", "99999w", "x", "1.5d"} {
		require.Error(t, new(Duration).parse(text), text)
	}
	for text, want := range map[string]Bytes{"4TB": 4e12, "64MiB": 64 << 20, "1.5 GB": 1.5e9, "7": 7, "2kb": 2000} {
		var b Bytes
		require.NoError(t, b.parse(text), text)
		require.Equal(t, want, b, text)
	}
	for _, text := range []string{"", "TB", "-1", "4XB", "1e30", "999999999PB", "1..2"} {
		require.Error(t, new(Bytes).parse(text), text)
	}
	for text, want := range map[string]Bitrate{"4Mbit/s": 4e6, "500 kbit/s": 5e5, "1Gbps": 1e9, "4000000": 4e6, "2M": 2e6} {
		var b Bitrate
		require.NoError(t, b.parse(text), text)
		require.Equal(t, want, b, text)
	}
	require.Equal(t, "30d", Duration(720*time.Hour).String())
	require.Equal(t, "4 TB", Bytes(4e12).String())
	require.Equal(t, "1.5 Mbit/s", Bitrate(1_500_000).String())
}

func TestProblemsOfAnItemCarryItsLine(t *testing.T) {
	c, err := Parse("duet.yaml", []byte(good))
	require.NoError(t, err)
	err = c.Problem("recorders", "r2", "would record 120 % of its capacity")
	require.ErrorContains(t, err, "duet.yaml:9:6: recorders[1]: would record 120 % of its capacity")
}

func TestMissingFileSaysWhatToDo(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "duet.yaml"))
	require.ErrorContains(t, err, "duet config")
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(Example))
	f.Add([]byte("cameras: [*a, &a {name: <<}]\n---\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("duet.yaml", text)
		if err == nil {
			require.NotEmpty(t, c.Cameras)
			require.GreaterOrEqual(t, len(c.Recorders), 2)
			_ = c.Expand(func(string) (string, bool) { return "x", true })
			return
		}
		var e *Error
		require.True(t, errors.As(err, &e))
		for _, p := range e.Problems {
			require.NotContains(t, p.Message, "\n")
			require.NotContains(t, p.Source, "\n")
		}
	})
}
