// Package relay is the floor to measure recording against: it reads RTSP cameras, writes
// what they send twice, to two processes that write it to files, and parses nothing. There
// is no TLS, no index, no hash and nothing is synced: a recorder cannot be cheaper than
// this on the same machine, with the same calls of the same runtime. A secure relay does two
// things more, and nothing else: TLS to its sinks, and they compute SHA-256 of what they write.
package relay

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/duet-video/duet/bench/source"
)

const (
	readSize    = 64 << 10 // most of an access unit in one call
	dialTimeout = 5 * time.Second
)

// Run reads the cameras and writes each to all sinks, which are secure or are not, until ctx
// ends or anything fails.
func Run(ctx context.Context, cameras, sinks []string, secure bool) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range cameras {
		group.Go(func() error {
			if err := pass(ctx, c, sinks, secure); err != nil && ctx.Err() == nil {
				return fmt.Errorf("relay %s: %w", c, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// pass relays one camera.
func pass(ctx context.Context, camera string, sinks []string, secure bool) error {
	u, err := url.Parse(camera)
	if err != nil {
		return err
	}
	var out []net.Conn
	for _, s := range sinks {
		conn, err := dial(ctx, s)
		if err != nil {
			return err
		}
		if secure {
			conn = client(conn)
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
		if _, err := fmt.Fprintln(conn, strings.Trim(u.Path, "/")); err != nil {
			return err
		}
		out = append(out, conn)
	}
	r := bufio.NewReaderSize(nil, readSize)
	in, err := source.Play(ctx, camera, r)
	if err != nil {
		return err
	}
	defer in.Close()
	defer context.AfterFunc(ctx, func() { _ = in.Close() })()
	buf := make([]byte, readSize)
	n := copy(buf, buffered(r))
	for {
		for _, conn := range out {
			if _, err := conn.Write(buf[:n]); err != nil {
				return err
			}
		}
		if n, err = in.Read(buf); err != nil {
			return err
		}
	}
}

func buffered(r *bufio.Reader) []byte {
	b, _ := r.Peek(r.Buffered()) // that much is there
	return b
}

func dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	return d.DialContext(ctx, "tcp", addr)
}

// Sink writes what relays send into DIR/CAMERA.bin, until ctx ends. It closes the listener.
func Sink(ctx context.Context, l net.Listener, dir string, secure bool) error {
	if secure {
		c, err := serverConfig()
		if err != nil {
			return errors.Join(err, l.Close())
		}
		l = tls.NewListener(l, c)
	}
	group, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	group.Go(func() error {
		for {
			conn, err := l.Accept()
			if err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			group.Go(func() error {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
				if err := store(conn, dir, secure); err != nil && ctx.Err() == nil && !errors.Is(err, io.EOF) {
					return fmt.Errorf("sink: %w", err)
				}
				return nil
			})
		}
	})
	return group.Wait()
}

func store(conn net.Conn, dir string, secure bool) (err error) {
	r := bufio.NewReaderSize(conn, readSize)
	name, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, filepath.Base(strings.TrimSpace(name))+".bin"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := make([]byte, readSize)
	n := copy(buf, buffered(r))
	sum := sha256.New()
	for {
		if secure {
			_, _ = sum.Write(buf[:n]) // never fails
		}
		if _, err := f.Write(buf[:n]); err != nil {
			return err
		}
		if n, err = conn.Read(buf); err != nil {
			return err
		}
	}
}
