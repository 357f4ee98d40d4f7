package source

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// accept serves connections until ctx ends.
func (s *Source) accept(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	stop := context.AfterFunc(ctx, func() { _ = s.opts.Listener.Close() })
	defer stop()
	for {
		conn, err := s.opts.Listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept at %s: %w", s.opts.Listener.Addr(), err)
		}
		all.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			defer conn.Close()
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = s.serve(tcp) // the client has gone, or was never one
			}
		})
	}
}

type request struct {
	method, url string
	header      textproto.MIMEHeader
}

// serve answers the requests of one connection (RFC 2326; one session, TCP alone).
func (s *Source) serve(conn *net.TCPConn) error {
	k, err := newClient(conn)
	if err != nil {
		return err
	}
	var playing *camera
	defer func() {
		if playing != nil {
			playing.remove(k)
		}
	}()
	r := bufio.NewReaderSize(conn, 4096)
	for {
		req, err := readRequest(r)
		if err != nil {
			return err
		}
		c := s.find(req.url)
		code, extra, body := "200 OK", "", ""
		switch {
		case c == nil && req.method != "OPTIONS":
			code = "404 Not Found"
		case c != nil && c.refuses():
			return nil
		case req.method == "OPTIONS":
			extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN\r\n"
		case req.method == "DESCRIBE":
			body = s.loop.sdp()
			extra = fmt.Sprintf("Content-Base: rtsp://%s/%s/\r\nContent-Type: application/sdp\r\n", conn.LocalAddr(), Name(c.index))
		case req.method == "SETUP":
			t := req.header.Get("Transport")
			if !strings.Contains(t, "TCP") {
				code = "461 Unsupported Transport"
				break
			}
			if _, at, ok := strings.Cut(t, "interleaved="); ok {
				n, err := strconv.ParseUint(strings.FieldsFunc(at, func(r rune) bool { return r < '0' || r > '9' })[0], 10, 7)
				if err != nil {
					return fmt.Errorf("transport %q: %w", t, err)
				}
				k.channel = byte(n)
			}
			k.ssrc = 0x5eed0000 + uint32(c.index)
			extra = fmt.Sprintf("Session: 1;timeout=60\r\nTransport: RTP/AVP/TCP;unicast;interleaved=%d-%d;ssrc=%08X\r\n", k.channel, k.channel+1, k.ssrc)
		case req.method == "PLAY":
			extra = "Session: 1\r\n"
		case req.method == "TEARDOWN":
			return nil
		}
		res := fmt.Sprintf("RTSP/1.0 %s\r\nCSeq: %s\r\n%sContent-Length: %d\r\n\r\n%s", code, req.header.Get("CSeq"), extra, len(body), body)
		if !k.write([]byte(res)) {
			return errors.New("the client does not read")
		}
		if req.method == "PLAY" && playing == nil && c != nil {
			playing = c
			c.add(k)
		}
	}
}

// readRequest skips what a client sends of RTCP.
func readRequest(r *bufio.Reader) (*request, error) {
	if err := skipMedia(r); err != nil {
		return nil, err
	}
	t := textproto.NewReader(r)
	line, err := t.ReadLine()
	if err != nil {
		return nil, err
	}
	f := strings.Fields(line)
	if len(f) != 3 {
		return nil, fmt.Errorf("request line %q", line)
	}
	h, err := t.ReadMIMEHeader()
	if err != nil {
		return nil, err
	}
	if n, _ := strconv.ParseInt(h.Get("Content-Length"), 10, 32); n > 0 {
		if _, err := io.CopyN(io.Discard, r, n); err != nil {
			return nil, err
		}
	}
	return &request{f[0], f[1], h}, nil
}

// find returns the camera of a URL, or nil.
func (s *Source) find(url string) *camera {
	_, path, _ := strings.Cut(strings.TrimPrefix(url, "rtsp://"), "/")
	name, _, _ := strings.Cut(path, "/")
	i, err := strconv.Atoi(strings.TrimPrefix(name, "c"))
	if err != nil || i < 0 || i >= len(s.cameras) || Name(i) != name {
		return nil
	}
	return s.cameras[i]
}

func (c *camera) add(k *client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clients = append(c.clients, k)
	c.sessions++
}

func (c *camera) remove(k *client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clients = slices.DeleteFunc(c.clients, func(x *client) bool { return x == k })
}

func (c *camera) refuses() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Before(c.refuseUntil)
}
