package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/duet-video/duet/bench/ledger"
	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/record"
)

// checkDisk checks what a crash has left: every fragment that the index names is there,
// whole, and everything that was acknowledged is named.
func (s *Site) checkDisk(n *node, acked map[copyKey]map[record.Epoch]uint64) error {
	n.disk.mu.Lock()
	mem := clone(n.disk.mem, n.disk.rand, 100) // looking at it must not change it
	n.disk.mu.Unlock()
	s.seen.mu.Lock()
	tampered := s.seen.damaged[n.name] || s.seen.wiped[n.name]
	lost := func(k copyKey) bool { return s.seen.lost[k] }
	s.seen.mu.Unlock()
	if tampered {
		return nil
	}
	dir := mem.PathJoin(dataDir, ".duet", "index")
	if _, err := mem.Stat(dir); err != nil {
		if len(ackedBy(acked, n.name)) > 0 {
			return fmt.Errorf("%s has acknowledged, and after the crash there is no index: %w", n.name, err)
		}
		return nil
	}
	store, err := index.Open(index.Options{FS: mem, Dir: dir, CacheBytes: 1 << 20, Log: zerolog.Nop()})
	if err != nil {
		return fmt.Errorf("open the index of %s as the crash left it: %w", n.name, err)
	}
	defer store.Close()
	whole, err := wholeFragments(mem)
	if err != nil {
		return err
	}
	for i, c := range s.cameras {
		if !slices.Contains(s.copies(i), n.name) {
			continue
		}
		byEpoch := map[record.Epoch][]extent{}
		for ref, err := range store.Fragments(c.name, 0, math.MaxInt64) {
			if err != nil {
				return fmt.Errorf("index of %s after the crash: %w", n.name, err)
			}
			if got, ok := whole[place{ref.Segment, ref.At}]; !ok || got.Hash != ref.Hash {
				return fmt.Errorf("%s: the index names fragment %s+%d at %d of %s, which the crash has not left whole",
					n.name, ref.Epoch, ref.First, ref.At, ref.Segment)
			}
			byEpoch[ref.Epoch] = append(byEpoch[ref.Epoch], extent{ref.First, ref.End})
		}
		key := copyKey{c.name, n.name}
		if err := covers(byEpoch, acked[key], lost(key)); err != nil {
			return fmt.Errorf("%s, %s: %w after a crash", n.name, c.name, err)
		}
	}
	return nil
}

func ackedBy(acked map[copyKey]map[record.Epoch]uint64, recorder string) []copyKey {
	var out []copyKey
	for k := range acked {
		if k.recorder == recorder {
			out = append(out, k)
		}
	}
	return out
}

type place struct {
	path string
	at   int64
}

// wholeFragments reads all media of a disk.
func wholeFragments(mem vfs.FS) (map[place]media.Info, error) {
	names, err := segments(mem)
	if err != nil {
		return nil, err
	}
	out := map[place]media.Info{}
	for _, name := range names {
		b, err := readAll(mem, mem.PathJoin(dataDir, name))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		scan := media.NewScanner(bytes.NewReader(b), int64(len(b)), true)
		for {
			it, err := scan.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, err
			}
			if it.Kind == media.ItemFragment && !it.BadHash {
				out[place{name, it.At}] = it.Info
			}
		}
	}
	return out, nil
}

// extent are offsets: first ≤ offset < end.
type extent struct{ first, end uint64 }

// covers reports, with an error, what was acknowledged and is not held. Where the copy
// has lost records to the window of the log, only the last of them counts.
func covers(held map[record.Epoch][]extent, acked map[record.Epoch]uint64, lost bool) error {
	for epoch, end := range acked {
		list := held[epoch]
		slices.SortFunc(list, func(a, b extent) int { return int(a.first) - int(b.first) })
		if len(list) == 0 {
			if lost {
				continue
			}
			return fmt.Errorf("acknowledged %s up to offset %d, holds nothing of it", epoch, end)
		}
		at := list[0].first
		for _, x := range list {
			if x.first > at && !lost {
				return fmt.Errorf("acknowledged %s up to offset %d, holds nothing of %d … %d", epoch, end, at, x.first)
			}
			at = max(at, x.end)
		}
		if at < end && !lost {
			return fmt.Errorf("acknowledged %s up to offset %d, holds it up to %d", epoch, end, at)
		}
	}
	return nil
}

// client asks recorders what they hold.
func (s *Site) holds(recorder, camera string) ([]*nodepb.Fragment, error) {
	conn, err := grpc.NewClient("passthrough:///"+recorder, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(s.net.dialer(checkerHost)), grpc.WithDisableServiceConfig())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	stream, err := nodepb.NewRecorderClient(conn).Fragments(ctx, &nodepb.FragmentsRequest{Camera: camera, StartNs: 0, EndNs: math.MaxInt64}, grpc.WaitForReady(true))
	if err != nil {
		return nil, fmt.Errorf("list %s on %s: %w", camera, recorder, err)
	}
	var out []*nodepb.Fragment
	for {
		reply, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list %s on %s: %w", camera, recorder, err)
		}
		out = append(out, reply.GetFragments()...)
	}
}

// Check checks what must hold of a site that has healed and come to rest. No camera may
// be sending any more.
func (s *Site) Check() error {
	acked := s.acknowledged()
	s.seen.mu.Lock()
	errs := slices.Clone(s.seen.faults)
	s.seen.mu.Unlock()
	if err := s.converge(); err != nil {
		errs = append(errs, err)
	}
	for i, c := range s.cameras {
		held := map[string][]*nodepb.Fragment{}
		for _, r := range s.copies(i) {
			list, err := s.holds(r, c.name)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			held[r] = list
			if s.seen.damaged[r] || s.seen.wiped[r] {
				continue
			}
			byEpoch := map[record.Epoch][]extent{}
			for _, f := range list {
				e := record.Epoch(f.GetEpoch())
				byEpoch[e] = append(byEpoch[e], extent{f.GetFirst(), f.GetEnd()})
			}
			key := copyKey{c.name, r}
			if err := covers(byEpoch, acked[key], s.seen.lost[key]); err != nil {
				errs = append(errs, fmt.Errorf("%s, %s: %w", r, c.name, err))
			}
		}
		errs = append(errs, equalBytes(c.name, held), s.checkPlayback(c))
	}
	for _, r := range s.order {
		errs = append(errs, s.checkIndex(r))
	}
	return errors.Join(errs...)
}

// checkIndex stops a recorder and checks that its index names exactly what its media
// hold, which is what an index made anew would name.
func (s *Site) checkIndex(recorder string) error {
	n := s.nodes[recorder]
	p := n.running()
	if p == nil {
		return fmt.Errorf("%s does not run", recorder)
	}
	hurt := p.mount.touched()
	if err := s.Stop(recorder); err != nil {
		return fmt.Errorf("stop %s: %w", recorder, err)
	}
	if hurt { // what could not be cut off then is cut off by the next start
		if err := s.Start(recorder); err != nil {
			return err
		}
		time.Sleep(3 * time.Second)
		if err := s.Stop(recorder); err != nil {
			return fmt.Errorf("stop %s: %w", recorder, err)
		}
	}
	s.seen.mu.Lock()
	damaged := s.seen.damaged[recorder]
	s.seen.mu.Unlock()
	if damaged {
		return nil
	}
	mem := clone(n.disk.memory(), n.disk.rand, 100)
	store, err := index.Open(index.Options{FS: mem, Dir: mem.PathJoin(dataDir, ".duet", "index"), CacheBytes: 1 << 20, Log: zerolog.Nop(), MustExist: true})
	if err != nil {
		return fmt.Errorf("open the index of %s after its end: %w", recorder, err)
	}
	defer store.Close()
	whole, err := wholeFragments(mem)
	if err != nil {
		return err
	}
	type start struct {
		camera string
		epoch  record.Epoch
		first  uint64
	}
	ends := map[start]uint64{}
	for _, c := range store.Cameras() {
		for ref, err := range store.Fragments(c.Name, 0, math.MaxInt64) {
			if err != nil {
				return fmt.Errorf("index of %s: %w", recorder, err)
			}
			at := place{ref.Segment, ref.At}
			if got, ok := whole[at]; !ok || got.Hash != ref.Hash {
				return fmt.Errorf("%s: the index names fragment %s+%d at %d of %s, which is not there", recorder, ref.Epoch, ref.First, ref.At, ref.Segment)
			}
			delete(whole, at)
			ends[start{c.Name, ref.Epoch, ref.First}] = ref.End
		}
	}
	for at, i := range whole {
		// One whose end had not been seen is followed, once it has, by the whole one; and
		// the link and repair may write the same one between two commits. The index names
		// the later one, the bytes of the first go with their segment.
		if ends[start{i.Camera, i.Epoch, i.First}] >= i.End {
			continue
		}
		return fmt.Errorf("%s: %d whole fragments are in no index, one at %d of %s", recorder, len(whole), at.at, at.path)
	}
	return nil
}

// convergeTime is how long two copies may take to become one.
const convergeTime = 60 * time.Second

// converge waits until both copies of every camera have the same fragments.
func (s *Site) converge() error {
	var last error
	for began := time.Now(); time.Since(began) < convergeTime; time.Sleep(2 * time.Second) {
		if last = s.equalSets(); last == nil {
			return nil
		}
	}
	return fmt.Errorf("not within %v: %w", convergeTime, last)
}

func (s *Site) equalSets() error {
	for i, c := range s.cameras {
		sets := map[string]int{} // fragment: how many copies have it
		where := map[string]string{}
		for _, r := range s.copies(i) {
			list, err := s.holds(r, c.name)
			if err != nil {
				return err
			}
			for _, f := range list {
				k := fmt.Sprintf("%s+%d…%d %x", record.Epoch(f.GetEpoch()), f.GetFirst(), f.GetEnd(), f.GetHash()[:4])
				sets[k]++
				where[k] = r
			}
		}
		for k, n := range sets {
			if n != 2 {
				return fmt.Errorf("%s: only %s has fragment %s", c.name, where[k], k)
			}
		}
	}
	return nil
}

// equalBytes checks that two copies of the same records are the same bytes.
func equalBytes(camera string, held map[string][]*nodepb.Fragment) error {
	type key struct {
		epoch      record.Epoch
		first, end uint64
	}
	hashes := map[key]string{}
	for r, list := range held {
		for _, f := range list {
			k := key{record.Epoch(f.GetEpoch()), f.GetFirst(), f.GetEnd()}
			if h, ok := hashes[k]; ok && h != string(f.GetHash()) {
				return fmt.Errorf("%s: fragment %s+%d of %s has another hash than the other copy", camera, k.epoch, k.first, r)
			}
			hashes[k] = string(f.GetHash())
		}
	}
	return nil
}

// timeline is what playback answers.
type timeline struct {
	Spans []struct {
		Start, End time.Time
		Recorders  []string
	}
	Gaps []struct {
		Start, End time.Time
		Cause      string
	}
	Unknown []struct{ Start, End time.Time }
}

// answer is what playback says.
type answer struct {
	code   int
	status string
	header http.Header
	body   []byte
}

// get asks playback.
func (s *Site) get(path string, q url.Values, limit time.Duration) (answer, error) {
	dial := s.net.dialer(checkerHost)
	tr := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, playbackHost) },
	}
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+playbackHost+path+"?"+q.Encode(), nil)
	if err != nil {
		return answer{}, err
	}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Status, resp.Header, body}, err
}

func (s *Site) timeline(camera string, from, to time.Time) (*timeline, error) {
	got, err := s.get("/v1/cameras/"+camera+"/timeline", rangeOf(from, to), 20*time.Second)
	if err != nil {
		return nil, err
	}
	if got.code != http.StatusOK {
		return nil, fmt.Errorf("timeline of %s: %s: %s", camera, got.status, got.body)
	}
	var t timeline
	return &t, json.Unmarshal(got.body, &t)
}

func rangeOf(from, to time.Time) url.Values {
	return url.Values{"start": {from.UTC().Format(time.RFC3339Nano)}, "end": {to.UTC().Format(time.RFC3339Nano)}}
}

// export reads a recording.
func (s *Site) export(c *camera, from, to time.Time) ([]ledger.AccessUnit, error) {
	got, err := s.get("/v1/cameras/"+c.name+"/recording.mp4", rangeOf(from, to), time.Minute)
	if err != nil {
		return nil, fmt.Errorf("export of %s: %w", c.name, err)
	}
	switch got.code {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, nil
	default:
		return nil, fmt.Errorf("export of %s: %s: %s", c.name, got.status, got.body)
	}
	start, err := time.Parse(time.RFC3339Nano, got.header.Get("Duet-Start"))
	if err != nil {
		return nil, fmt.Errorf("export of %s: %w", c.name, err)
	}
	return ledger.FromMP4(bytes.NewReader(got.body), &c.book.Header, start.UnixNano())
}

// checkPlayback compares what playback gives, and what it says is missing, with what the
// camera sent.
func (s *Site) checkPlayback(c *camera) error {
	book := c.ledger()
	entries := book.Entries[0]
	if len(entries) == 0 {
		return nil
	}
	from, to := s.start, time.Unix(0, entries[len(entries)-1].AtNS).Add(frameEvery)
	t, err := s.timeline(c.name, from, to)
	if err != nil {
		return err
	}
	if len(t.Unknown) > 0 {
		return fmt.Errorf("%s: the timeline has %d unknown stretches, although every recorder is there", c.name, len(t.Unknown))
	}
	units, err := s.export(c, from, to)
	if err != nil {
		return err
	}
	o := ledger.Options{FromNS: from.UnixNano(), ToNS: to.UnixNano(), Tolerance: frameEvery / 3}
	for _, g := range t.Gaps {
		o.Gaps = append(o.Gaps, ledger.Gap{StartNS: g.Start.UnixNano(), EndNS: g.End.UnixNano(), Cause: g.Cause})
	}
	if err := ledger.Check(book, units, o).Err(); err != nil {
		return fmt.Errorf("%s: merged playback: %w", c.name, err)
	}
	return nil
}
