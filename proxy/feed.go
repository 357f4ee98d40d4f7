package proxy

import (
	"context"

	"github.com/pion/rtp"

	"github.com/duet-video/duet/internal/media"
)

// Source is one session of a camera that comes from elsewhere than RTSP. It calls begin
// with the tracks of the camera when its first packet is there, and with what begin
// returned delivers the packets of each track in the order of their sequence numbers. It
// returns why the session ended, which is always an error, or ctx.Err() after ctx is
// done. A packet that was delivered must not be changed. The proxy stamps, cuts and logs
// what comes as it does with RTSP, and begins the next session after a pause.
type Source func(ctx context.Context, c Camera, begin func(tracks []media.Track) Deliver) error

// Deliver takes a packet of a track (an index into the session's tracks). After an error
// the session has to end with it.
type Deliver func(track int, p *rtp.Packet) error

// session makes a Source what runSession is for RTSP.
func (s Source) session(ctx context.Context, cfg sessionConfig, sink sessionSink) error {
	var in *ingest
	err := s(ctx, cfg.Camera, func(tracks []media.Track) Deliver {
		in = newIngest(cfg, sink, tracks)
		return in.packet
	})
	if in != nil {
		in.end()
	}
	if ctx.Err() != nil {
		return &sessionError{Cause: media.CauseProxy, Err: ctx.Err()}
	}
	return err
}
