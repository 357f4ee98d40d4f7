package config

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Secret is a text that is never printed: all its forms in fmt and JSON are "***".
type Secret string

func (s Secret) String() string { return "***" }

// GoString is what %#v prints.
func (s Secret) GoString() string { return "***" }

// MarshalText is what JSON and YAML get.
func (s Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

// Reveal returns the text itself.
func (s Secret) Reveal() string { return string(s) }

// CameraURL is where a camera is, with its credentials, which no form in fmt or JSON shows.
type CameraURL string

var userinfo = regexp.MustCompile(`://[^\s"']*@`)

func (u CameraURL) String() string { return hideUserinfo(string(u)) }

// GoString is what %#v prints.
func (u CameraURL) GoString() string { return u.String() }

// MarshalText is what JSON and YAML get.
func (u CameraURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// Reveal returns the URL itself.
func (u CameraURL) Reveal() string { return string(u) }

func hideUserinfo(s string) string { return userinfo.ReplaceAllString(s, "://***@") }

// check reports what is wrong with the URL, without quoting it.
func (u CameraURL) check() error {
	p, err := url.Parse(string(u))
	switch {
	case err != nil:
		return errors.New("not a URL (percent-encode : / ? # % @ in a user name or password)")
	case p.Scheme != "rtsp" && p.Scheme != "rtsps":
		return errors.New("want rtsp://host/path or rtsps://host/path")
	case p.Hostname() == "":
		return errors.New("names no host (percent-encode : / ? # % @ in a user name or password)")
	}
	if port := p.Port(); port != "" {
		if err := Address("x:" + port).check(); err != nil {
			return err
		}
	}
	return nil
}

var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

func hasVariable(s string) bool { return strings.Contains(s, "${") }

// expand puts variables in their places; escape is told where each one stands.
func expand(s string, lookup func(string) (string, bool), escape func(at int, value string) string) (string, error) {
	var out strings.Builder
	end := 0
	for _, m := range variable.FindAllStringSubmatchIndex(s, -1) {
		name := s[m[2]:m[3]]
		v, ok := lookup(name)
		if !ok {
			return "", fmt.Errorf("the environment variable %s is not set", name)
		}
		out.WriteString(s[end:m[0]])
		out.WriteString(escape(m[0], v))
		end = m[1]
	}
	if rest := s[end:]; hasVariable(rest) {
		return "", errors.New("a ${ without a name and a }")
	}
	out.WriteString(s[end:])
	return out.String(), nil
}

func (s Secret) expand(lookup func(string) (string, bool)) (Secret, error) {
	v, err := expand(string(s), lookup, func(_ int, v string) string { return v })
	return Secret(v), err
}

// expand percent-encodes what goes in front of the @, so that a password may have any
// characters; a variable that is the whole URL is taken as it is.
func (u CameraURL) expand(lookup func(string) (string, bool)) (CameraURL, error) {
	at := strings.LastIndexByte(string(u), '@')
	v, err := expand(string(u), lookup, func(pos int, v string) string {
		if pos < at {
			return strings.ReplaceAll(url.QueryEscape(v), "+", "%20")
		}
		return v
	})
	return CameraURL(v), err
}
