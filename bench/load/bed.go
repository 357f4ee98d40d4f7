package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/duet-video/duet/bench/source"
)

// bed is what a system under test is put into: a directory, free ports, and cameras that
// run in a process of their own.
type bed struct {
	o       *Options
	p       Point
	dir     string
	ports   *Ports
	sources children
	cameras string // host:port of the cameras
	control string // host:port of their state
}

func newBed(ctx context.Context, o *Options, p Point) (*bed, error) {
	b, err := newDir(o)
	if err != nil {
		return nil, err
	}
	b.p = p
	if err := b.startCameras(ctx); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// begin starts the cameras of a point and a system that pulls them. end stops both, the
// system first, and removes what they left.
func begin(ctx context.Context, o *Options, p Point, s system) (b *bed, end func(), err error) {
	if b, err = newBed(ctx, o, p); err != nil {
		return nil, nil, err
	}
	end = func() {
		s.processes().stop()
		b.close()
	}
	if err := s.start(ctx, b); err != nil {
		end()
		return nil, nil, err
	}
	return b, end, nil
}

// newDir makes a bed without cameras.
func newDir(o *Options) (*bed, error) {
	dir, err := os.MkdirTemp(o.Dir, "duet-bench-")
	if err != nil {
		return nil, err
	}
	return &bed{o: o, dir: dir, ports: o.Ports}, nil
}

func (b *bed) startCameras(ctx context.Context) error {
	addr, err := b.ports.take(2)
	if err != nil {
		return err
	}
	b.cameras, b.control = addr[0], addr[1]
	if err := b.sources.start(b.dir, "cameras", b.o.Exe, "bench-role", "cameras",
		"-n", fmt.Sprint(b.p.Cameras), "--video", b.p.Codec, "--mbit", fmt.Sprint(b.p.Mbit),
		"--listen", b.cameras, "--control", b.control); err != nil {
		return err
	}
	return b.sources.wait(ctx, 20*time.Second, "the cameras", func() error {
		_, err := b.states(ctx)
		return err
	})
}

// close ends the cameras and removes the directory.
func (b *bed) close() {
	b.sources.stop()
	if !b.o.Keep {
		_ = os.RemoveAll(b.dir) // what is left there is in the way of nobody
	}
}

// url returns where a camera is.
func (b *bed) url(i int) string { return "rtsp://" + b.cameras + "/" + source.Name(i) }

// states asks what the cameras have sent.
func (b *bed) states(ctx context.Context) ([]source.State, error) {
	var s []source.State
	return s, getJSON(ctx, "http://"+b.control+"/cameras", &s)
}

// write makes a file in the bed's directory and returns its path.
func (b *bed) write(name, text string) (string, error) {
	path := filepath.Join(b.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

func (b *bed) mkdir(name string) (string, error) {
	path := filepath.Join(b.dir, name)
	return path, os.MkdirAll(path, 0o755)
}

// filesOf returns the files of a camera in a directory of recordings: DIR/CAMERA.bin, or
// those below DIR/CAMERA.
func filesOf(dir, camera string) ([]string, error) {
	bin := filepath.Join(dir, camera+".bin")
	if _, err := os.Stat(bin); err == nil {
		return []string{bin}, nil
	}
	var out []string
	err := filepath.WalkDir(filepath.Join(dir, camera), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return out, err
}

// recorded returns an error unless something of each camera is in so many of the directories.
func (b *bed) recorded(dirs []string, copies int) error {
	for i := range b.p.Cameras {
		have := 0
		for _, dir := range dirs {
			files, err := filesOf(dir, source.Name(i))
			if err != nil {
				return err
			}
			for _, f := range files {
				if st, err := os.Stat(f); err == nil && st.Size() > 0 {
					have++
					break
				}
			}
		}
		if have < copies {
			return fmt.Errorf("%s is in %d of %d places", source.Name(i), have, copies)
		}
	}
	return nil
}

// marshal writes JSON for people.
func marshal(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	return append(b, '\n'), err
}
