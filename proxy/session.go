package proxy

import (
	"errors"
	"time"

	"github.com/pion/rtp"
	"github.com/rs/zerolog"

	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// sessionConfig is what a session of a camera needs to know.
type sessionConfig struct {
	Camera                   Camera
	FragmentMin, FragmentMax time.Duration
	SegmentDuration          time.Duration
	StallTimeout             time.Duration
	Clock                    clock.Clock
	Log                      zerolog.Logger // has the camera's name
	Pump                     *pump          // nil: connections are read one by one
}

// epochStart is what a session learns when its epoch begins.
type epochStart struct {
	Epoch record.Epoch
	// Since and SinceNS go into the Description of every cut.
	Since   media.Cause
	SinceNS int64
	// FloorNS: every capture time of the epoch must be greater. Unix ns.
	FloorNS int64
	// ResumeNS is what the time is now if the wall clock was right during the epoch
	// before; 0: there was none. Unix ns.
	ResumeNS int64
}

// sessionSink takes what one session delivers. Not for concurrent use; Stats may be
// called at any time.
type sessionSink interface {
	// Begin starts the session's epoch. Call it once, when the tracks are known and
	// the first packet is there; before it nothing may be appended.
	Begin(tracks []media.Track) (epochStart, error)
	// Append and Publish are those of Log.
	Append(r *record.Record, p *rtp.Packet) (offset uint64, err error)
	Publish()
	// Lost counts packets that the camera sent and that did not arrive.
	Lost(packets uint64)
}

// runSession(ctx, sessionConfig, sessionSink) error connects to the camera and delivers
// until ctx is done or the session ends, which is always an error. The caller ends the
// epoch, with the cause that sessionCause finds in the error.

// sessionError says why a session ended.
type sessionError struct {
	Cause media.Cause
	Err   error // no credentials in its text
}

func (e *sessionError) Error() string { return e.Err.Error() }
func (e *sessionError) Unwrap() error { return e.Err }

// sessionCause returns the cause that is in err, or CauseConnection.
func sessionCause(err error) media.Cause {
	if e, ok := errors.AsType[*sessionError](err); ok {
		return e.Cause
	}
	return media.CauseConnection
}
