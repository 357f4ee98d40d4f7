package ledger

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/pion/rtp"
)

// CaptureOptions say how to read a live stream.
type CaptureOptions struct {
	URL       string // may carry user and password
	Transport gortsplib.Transport
	// Patience is how long nothing may come before it fails; default 10 s.
	Patience time.Duration
	// OnUnit is called with each access unit, its arrival as capture time, and the packet
	// that completed it; never concurrently. The packet is only valid during the
	// call.
	OnUnit func(AccessUnit, *rtp.Packet)
	// OnPacket, when set, is called with each packet of a track before that.
	OnPacket func(track int, p *rtp.Packet)
	// OnReady, when set, is called after PLAY was answered.
	OnReady func(*gortsplib.Client)
	// Dial connects; nil: TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Capture plays an RTSP stream until ctx ends or the connection fails, and reassembles
// its access units for comparison with the ledger that has the header. It returns nil
// when ctx ended it.
func Capture(ctx context.Context, h *Header, o CaptureOptions) error {
	u, err := base.ParseURL(o.URL)
	if err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	if o.Patience == 0 {
		o.Patience = 10 * time.Second
	}
	c := &gortsplib.Client{
		Scheme:            u.Scheme,
		Host:              u.Host,
		Transport:         &o.Transport,
		OnDecodeError:     func(error) {},  // RTCP that is none
		OnPacketsLost:     func(uint64) {}, // the checker finds out
		AnyPortEnable:     true,
		WriteTimeout:      5 * time.Second,
		ReadTimeout:       o.Patience,
		OnTransportSwitch: func(error) {},
		DialContext:       o.Dial,
	}
	if err := c.Start2(); err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	defer c.Close()
	if err := play(c, u, h, &o); err != nil {
		return fmt.Errorf("capture %s: %w", u.Path, err)
	}
	if o.OnReady != nil {
		o.OnReady(c)
	}
	var failure error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		failure = c.Wait()
	}()
	select {
	case <-ended:
		return fmt.Errorf("capture %s: %w", u.Path, failure)
	case <-ctx.Done():
		c.Close()
		<-ended
		return nil
	}
}

func play(c *gortsplib.Client, u *base.URL, h *Header, o *CaptureOptions) error {
	desc, _, err := c.Describe(u)
	if err != nil {
		return err
	}
	if err := c.SetupAll(desc.BaseURL, desc.Medias); err != nil {
		return err
	}
	var mu sync.Mutex // over UDP each track has a goroutine of its own
	found := 0
	for _, m := range desc.Medias {
		for _, f := range m.Formats {
			codec := codecOf(f)
			track := -1
			for i, t := range h.Tracks {
				if t.Codec == codec {
					track = i
				}
			}
			if track < 0 {
				continue
			}
			found++
			decode, err := newDecoder(codec, f)
			if err != nil {
				return err
			}
			c.OnPacketRTP(m, f, func(p *rtp.Packet) {
				mu.Lock()
				defer mu.Unlock()
				if o.OnPacket != nil {
					o.OnPacket(track, p)
				}
				for _, a := range decode(h, p) {
					a.Track = track
					a.CaptureNS = time.Now().UnixNano()
					o.OnUnit(a, p)
				}
			})
		}
	}
	if found == 0 {
		return errors.New("it has no track of the ledger")
	}
	_, err = c.Play(nil)
	return err
}

func codecOf(f format.Format) Codec {
	switch f := f.(type) {
	case *format.H264:
		return H264
	case *format.H265:
		return H265
	case *format.MJPEG:
		return MJPEG
	case *format.MPEG4Audio:
		return AAC
	case *format.G711:
		if f.MULaw {
			return PCMU
		}
		return PCMA
	}
	return ""
}

// Units returns what turns the packets of a format into access units of the camera's
// ledger, for a reader of its own; nil: the ledger has no such track. CaptureNS is not
// set. Not for concurrent use.
func Units(h *Header, f format.Format) (func(*rtp.Packet) []AccessUnit, error) {
	codec := codecOf(f)
	for i, t := range h.Tracks {
		if t.Codec != codec {
			continue
		}
		decode, err := newDecoder(codec, f)
		if err != nil {
			return nil, err
		}
		return func(p *rtp.Packet) []AccessUnit {
			units := decode(h, p)
			for k := range units {
				units[k].Track = i
			}
			return units
		}, nil
	}
	return nil, nil //nolint:nilnil // there is none
}

type decodeFunc func(*Header, *rtp.Packet) []AccessUnit

// newDecoder returns what turns packets into access units. Errors (the stream was joined
// in the middle of one, a packet was lost) leave access units out.
func newDecoder(codec Codec, f format.Format) (decodeFunc, error) {
	switch f := f.(type) {
	case *format.H264:
		d, err := f.CreateDecoder()
		return func(h *Header, p *rtp.Packet) []AccessUnit {
			nalus, err := d.Decode(p)
			if err != nil {
				return nil
			}
			return []AccessUnit{h.unitOfNALUs(codec, nalus)}
		}, err
	case *format.H265:
		d, err := f.CreateDecoder()
		return func(h *Header, p *rtp.Packet) []AccessUnit {
			nalus, err := d.Decode(p)
			if err != nil {
				return nil
			}
			return []AccessUnit{h.unitOfNALUs(codec, nalus)}
		}, err
	case *format.MJPEG:
		d, err := f.CreateDecoder()
		return func(h *Header, p *rtp.Packet) []AccessUnit {
			image, err := d.Decode(p)
			if err != nil {
				return nil
			}
			return []AccessUnit{h.unitOfBytes(codec, image)}
		}, err
	case *format.MPEG4Audio:
		d, err := f.CreateDecoder()
		return func(h *Header, p *rtp.Packet) []AccessUnit {
			aus, err := d.Decode(p)
			if err != nil {
				return nil
			}
			out := make([]AccessUnit, len(aus))
			for i, au := range aus {
				out[i] = h.unitOfBytes(codec, au)
			}
			return out
		}, err
	case *format.G711:
		return func(h *Header, p *rtp.Packet) []AccessUnit {
			return []AccessUnit{h.unitOfBytes(codec, p.Payload)}
		}, nil
	}
	return nil, fmt.Errorf("codec %s is not known", codec)
}
