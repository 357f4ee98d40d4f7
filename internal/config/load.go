package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxFile bounds the file; a site of ten thousand cameras needs 2 MB.
const maxFile = 16 << 20

// Load reads and checks the file. What is wrong with its content is an *Error that
// holds all problems.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s does not exist (`duet config` prints an example)", path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return Parse(path, text)
}

// Parse checks text as Load does; name is what messages call it, and paths in it are
// relative to name's directory.
func Parse(name string, text []byte) (*Config, error) {
	r := &report{file: newSource(name, text)}
	if len(text) > maxFile {
		r.add(mark{}, 0, "", "larger than %d bytes", maxFile)
		return nil, r.err()
	}
	c := defaults()
	c.file = r.file
	d := &decoder{report: r, marks: make(map[string]mark), anchors: make(map[string]ast.Node)}
	c.marks = d.marks
	doc, err := parse(text)
	if err != nil {
		r.syntax(err)
		return nil, r.err()
	}
	switch len(doc.Docs) {
	case 0:
	case 1:
		if body := doc.Docs[0].Body; body != nil {
			d.value(body, reflect.ValueOf(c).Elem(), "")
		}
	default:
		r.add(at(doc.Docs[1].Start), 0, "", "a second document: everything goes into one")
		return nil, r.err()
	}
	c.complete()
	c.check(r)
	if err := r.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// parse guards against a parser that gives up on a file: an edit must not end a process.
func parse(text []byte) (f *ast.File, err error) {
	defer func() {
		if recover() != nil {
			f, err = nil, errors.New("not YAML")
		}
	}()
	return parser.ParseBytes(text, 0)
}

func (r *report) syntax(err error) {
	var where interface {
		GetToken() *token.Token
		GetMessage() string
	}
	var y yaml.Error
	if errors.As(err, &y) {
		where = y
	}
	if where == nil {
		r.add(mark{}, 0, "", "not YAML")
		return
	}
	// The parser's messages may quote what they found, and that may be a password.
	r.add(at(where.GetToken()), 0, "", "not YAML: %s", hideUserinfo(where.GetMessage()))
}

// Expand puts the values of environment variables into the sources of the cameras and
// the passwords of readers, and checks the result. The machines of proxies need it;
// others can do without the variables, but for ExpandReaders. lookup is os.LookupEnv.
func (c *Config) Expand(lookup func(string) (string, bool)) error {
	r := &report{file: c.file}
	for i := range c.Cameras {
		if !hasVariable(string(c.Cameras[i].Source)) {
			continue
		}
		path := fmt.Sprintf("cameras[%d].source", i)
		u, err := c.Cameras[i].Source.expand(lookup)
		if err == nil {
			err = u.check()
		}
		if err != nil {
			r.add(c.marks[path], 0, path, "%v", err)
			continue
		}
		c.Cameras[i].Source = u
	}
	c.expandReaders(r, lookup)
	return r.err()
}

// ExpandReaders does of it what the machines of playback nodes with RTSP need.
func (c *Config) ExpandReaders(lookup func(string) (string, bool)) error {
	r := &report{file: c.file}
	c.expandReaders(r, lookup)
	return r.err()
}

func (c *Config) expandReaders(r *report, lookup func(string) (string, bool)) {
	for i := range c.Readers {
		path := fmt.Sprintf("readers[%d].password", i)
		p, err := c.Readers[i].Password.expand(lookup)
		if err == nil && p == "" {
			err = errors.New("is empty")
		}
		if err != nil {
			r.add(c.marks[path], 0, path, "%v", err)
			continue
		}
		c.Readers[i].Password = p
	}
}

// Problem returns an error about the item (a camera, a recorder …) of that name in the
// section (cameras, recorders …), with its line.
func (c *Config) Problem(section, name, message string) error {
	r := &report{file: c.file}
	for path, at := range c.itemMarks(section, name) {
		r.add(at, 0, path, "%s", message)
		return r.err()
	}
	r.add(mark{}, 0, section, "%s", message)
	return r.err()
}
