package archtest

import "testing"

// roles are the packages of the processes.
var roles = []string{"proxy", "recorder", "playback"}

// rule forbids an import.
type rule struct {
	reason string
	// from and to are directories; to may also be a path of another module. tests
	// says whether test files have to obey too.
	from, to []string
	except   []string // importing packages that may
	tests    bool
}

var rules = []rule{
	{
		reason: "cmd/duet knows everything, so nothing may know it",
		from:   []string{"."}, to: []string{"cmd"}, tests: true,
	},
	{
		reason: "proxy, recorder and playback are processes on different machines: what they share is a protocol, not code of each other",
		from:   []string{"proxy"}, to: []string{"recorder", "playback", "index"}, tests: true,
	},
	{
		reason: "proxy, recorder and playback are processes on different machines: what they share is a protocol, not code of each other",
		from:   []string{"recorder"}, to: []string{"proxy", "playback"},
	},
	{
		reason: "proxy, recorder and playback are processes on different machines: what they share is a protocol, not code of each other",
		from:   []string{"playback"}, to: []string{"proxy", "recorder"},
	},
	{
		reason: "bench measures and simulates; what is shipped must not depend on it. cmd/duet wires its commands",
		from:   append([]string{"internal", "index"}, roles...), to: []string{"bench", "testdata"},
	},
	{
		reason: "the page is files that are served: it talks to the API as every client does, from the browser",
		from:   []string{"playback/web"}, to: []string{"index", "internal", "bench", "google.golang.org/grpc"}, tests: true,
	},
	{
		reason: "internal packages are leaves: they know no role, no index and no command",
		from:   []string{"internal"}, to: append([]string{"index"}, roles...),
	},
	{
		reason: "the index and its merge are pure logic and a database: they know no network",
		from:   []string{"index"}, to: []string{"net", "net/http", "google.golang.org/grpc", module + "/internal/link", module + "/internal/nodepb", module + "/internal/node"},
	},
	{
		reason: "RTSP is the business of the proxy, and of the replay of recordings; recorders and the rest of playback see records and fragments",
		from:   []string{"."}, to: []string{"github.com/bluenviron/gortsplib"}, except: []string{"proxy", "bench", "playback/replay"},
	},
	{
		reason: "the replay of recordings is told what there is by whoever asks recorders: it knows no network but its clients'",
		from:   []string{"playback/replay"}, to: []string{"google.golang.org/grpc", module + "/index", module + "/internal/nodepb", module + "/internal/link"},
	},
	{
		reason: "one package owns the database, so that its order of keys and of syncing has one author (recorders, and what plays faults to them, share its file system)",
		from:   []string{"."}, to: []string{"github.com/cockroachdb/pebble/v2"}, except: []string{"index", "recorder", "bench/sim"},
	},
	{
		reason: "the file's form is the wiring's business: roles take Options",
		from:   append([]string{"index", "bench"}, roles...), to: []string{module + "/internal/config", module + "/internal/supervise"},
	},
	{
		reason: "a global logger or registry cannot be told apart in tests and processes; both are passed in",
		from:   []string{"."}, to: []string{"github.com/rs/zerolog/log", "github.com/prometheus/client_golang/prometheus/promauto"}, tests: true,
	},
}

// leaves says which packages of the module a leaf may import. The nouns (record, media,
// clock) are for everybody; the rest of a leaf's needs are dependencies.
var leaves = map[string][]string{
	"internal/evidence": {"internal/media"},
	"internal/link":     {"internal/record", "internal/media", "internal/wire"},
	"internal/lock":     {"internal/nodepb"}, // the message that a lock travels in
	"internal/media":    {"internal/record"},
}

func TestImportsFollowTheDirectionOfTheDesign(t *testing.T) {
	for _, f := range tree(t) {
		for _, r := range rules {
			if !applies(&f, &r) {
				continue
			}
			for _, imported := range f.imports {
				if forbidden(imported, r.to) {
					t.Errorf("%s imports %s: %s", f.where(), imported, r.reason)
				}
			}
		}
	}
}

func applies(f *sourceFile, r *rule) bool {
	if f.test && !r.tests || under(f.pkg, r.except...) || under(f.pkg, r.to...) {
		return false
	}
	return r.from[0] == "." || under(f.pkg, r.from...)
}

func forbidden(imported string, to []string) bool {
	if dir, ok := ours(imported); ok && under(dir, to...) {
		return true
	}
	for _, t := range to {
		if imported == t {
			return true
		}
		// A path with a dot in its first element is another module's, or this one's in full.
		if first, _, _ := cutFirst(t); hasDot(first) && under(imported, t) {
			return true
		}
	}
	return false
}

func TestLeavesImportNothingButNouns(t *testing.T) {
	for _, f := range tree(t) {
		if f.test || !under(f.pkg, "internal") {
			continue
		}
		for _, imported := range f.imports {
			dir, ok := ours(imported)
			if ok && !under(dir, leaves[f.pkg]...) && !under(dir, "internal/record", "internal/clock") {
				t.Errorf("%s imports %s: a leaf has one job, and knows of the module no more than the nouns", f.where(), imported)
			}
		}
	}
}

func TestEveryRuleCanBeBroken(t *testing.T) {
	for _, r := range rules {
		from := r.from[0]
		if from == "." {
			from = "internal/anything"
		}
		for _, to := range r.to {
			imported := to
			if first, _, _ := cutFirst(to); !hasDot(first) && under(to, topLevel...) {
				imported = module + "/" + to
			}
			f := sourceFile{pkg: from, imports: []string{imported}}
			if !applies(&f, &r) || !forbidden(imported, r.to) {
				t.Errorf("%s may import %s, in spite of: %s", from, imported, r.reason)
			}
		}
	}
}
