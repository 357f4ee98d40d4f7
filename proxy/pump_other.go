//go:build !linux

package proxy

import (
	"errors"
	"sync/atomic"

	"github.com/duet-video/duet/internal/clock"
)

// pump is for Linux.
type pump struct{ watched atomic.Int64 }

func newPump(clock.Clock) *pump { return &pump{} }

func (*pump) close() {}

func (*pump) take(*cameraConn) error { return nil }

func (*cameraConn) writePumped(int, []byte) (int, error) { return 0, errors.ErrUnsupported }

func (*cameraConn) closePumped(int) error { return errors.ErrUnsupported }
