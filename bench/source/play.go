package source

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const dialTimeout = 10 * time.Second

// Play connects to an RTSP server and asks for the first video track of the URL over TCP
// (RFC 2326 10.12; channel 0, its RTCP on 1). What the server sends then is in r first,
// and in conn after that. The caller closes conn.
func Play(ctx context.Context, rawURL string, r *bufio.Reader) (conn net.Conn, err error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: dialTimeout}
	if conn, err = d.DialContext(ctx, "tcp", u.Host); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
			err = fmt.Errorf("play %s: %w", u.Redacted(), err)
		}
	}()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return nil, err
	}
	r.Reset(conn)
	_, sdp, err := ask(conn, r, "DESCRIBE "+rawURL+" RTSP/1.0\r\nAccept: application/sdp\r\n")
	if err != nil {
		return nil, err
	}
	track, err := videoControl(rawURL, sdp)
	if err != nil {
		return nil, err
	}
	h, _, err := ask(conn, r, "SETUP "+track+" RTSP/1.0\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n")
	if err != nil {
		return nil, err
	}
	session, _, _ := strings.Cut(h.Get("Session"), ";")
	if _, _, err := ask(conn, r, "PLAY "+rawURL+" RTSP/1.0\r\nRange: npt=0-\r\nSession: "+session+"\r\n"); err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Time{})
}

// ask sends a request and reads its answer. Media may come before that of PLAY.
func ask(w io.Writer, r *bufio.Reader, request string) (textproto.MIMEHeader, string, error) {
	if _, err := fmt.Fprintf(w, "%sCSeq: 1\r\n\r\n", request); err != nil {
		return nil, "", err
	}
	if err := skipMedia(r); err != nil {
		return nil, "", err
	}
	t := textproto.NewReader(r)
	line, err := t.ReadLine()
	if err != nil {
		return nil, "", err
	}
	method, _, _ := strings.Cut(request, " ")
	if !strings.HasPrefix(line, "RTSP/1.0 200") {
		return nil, "", fmt.Errorf("%s: %s", method, line)
	}
	h, err := t.ReadMIMEHeader()
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", method, err)
	}
	n, _ := strconv.ParseUint(h.Get("Content-Length"), 10, 20) // without one there is no body
	body := make([]byte, n)
	_, err = io.ReadFull(r, body)
	return h, string(body), err
}

// skipMedia skips interleaved data up to the next message.
func skipMedia(r *bufio.Reader) error {
	for {
		b, err := r.Peek(interleaved)
		if err != nil || b[0] != '$' {
			return err
		}
		if _, err := r.Discard(interleaved + int(b[2])<<8 + int(b[3])); err != nil {
			return err
		}
	}
}

// videoControl finds the URL of the first video track (RFC 2326 C.1.1).
func videoControl(base, sdp string) (string, error) {
	video := false
	for line := range strings.Lines(sdp) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "m=") {
			if video {
				break
			}
			video = strings.HasPrefix(line, "m=video")
		}
		if c, ok := strings.CutPrefix(line, "a=control:"); ok && video {
			if strings.Contains(c, "://") {
				return c, nil
			}
			return strings.TrimSuffix(base, "/") + "/" + strings.TrimPrefix(c, "/"), nil
		}
	}
	return "", errors.New("there is no video track with a control attribute")
}
