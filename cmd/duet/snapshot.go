package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/duet-video/duet/internal/config"
)

// takeSnapshot copies the file to one without a name: what it says later, good or bad,
// is no concern of the nodes that are started with it.
func takeSnapshot(file string) (*os.File, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		_, err = config.Load(file) // says what to do
	}
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp("", "duet-*.yaml")
	if err != nil {
		return nil, fmt.Errorf("keep a copy of %s: %w", file, err)
	}
	err = os.Remove(f.Name())
	if err == nil {
		_, err = f.Write(text)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("keep a copy of %s: %w", file, err), f.Close())
	}
	return f, nil
}

// parseSnapshot reads it. Many processes share the file and its offset, which stays.
func parseSnapshot(file string, f *os.File) (*config.Config, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the copy of %s: %w", file, err)
	}
	text := make([]byte, st.Size())
	if _, err := f.ReadAt(text, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the copy of %s: %w", file, err)
	}
	return config.Parse(file, text)
}

// load loads the file, or the copy that the supervisor kept of it.
func (f *nodeFlags) load() (*site, error) {
	if f.ConfigFD == 0 {
		return loadSite(f.Config)
	}
	text := os.NewFile(uintptr(f.ConfigFD), f.Config)
	if text == nil {
		return nil, usagef("--config-fd %d is not open", f.ConfigFD)
	}
	defer text.Close()
	cfg, err := parseSnapshot(f.Config, text)
	if err != nil {
		return nil, err
	}
	return newSite(cfg)
}
