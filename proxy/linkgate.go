package proxy

import "time"

// gates moves the gates of all spare channels, and reports whether one has to send.
func (r *recorderStream) gates() (due bool) {
	for _, ch := range r.channels {
		if !ch.spare {
			continue
		}
		was := ch.gate
		ch.gate = ch.gate.next(r.srv.primaryState(ch.camera))
		switch {
		case ch.gate == was:
		case ch.gate == gateRunning && was == gateHeld:
			from := spareStart(ch.camera.primary().info().Durable, ch.sent, ch.camera.log.Knows)
			if ch.startCursor(from, r.waker) != nil {
				ch.gate = gateHeld
				continue
			}
			if from != ch.sent {
				ch.cursor.Untold()
			}
			ch.copy.hold(false)
			r.srv.log.Warn().Str("camera", ch.camera.cfg.Name).Str("recorder", r.recorder).
				Str("primary", ch.camera.cfg.Primary).Msg("the spare takes over")
			due = true
		case ch.gate == gateRunning:
			ch.cursor.GoOn()
		case ch.gate == gateStopping:
			ch.cursor.StopAtCut()
			r.srv.log.Info().Str("camera", ch.camera.cfg.Name).Str("recorder", r.recorder).
				Str("primary", ch.camera.cfg.Primary).Msg("the primary has caught up; the spare stops at the next cut")
			due = true
		}
	}
	return due
}

// primaryState returns what a gate of cam decides by.
func (s *linkServer) primaryState(cam *camera) primaryState {
	now := s.clock.Mono()
	i := cam.primary().info()
	return primaryState{
		Linked: i.Linked, Seen: i.Seen,
		Overdue:  i.Seen && !cam.log.Reached(i.Durable, cam.log.DueBy(now-int64(s.grace))),
		CaughtUp: cam.log.Reached(i.Durable, cam.log.DueBy(now-int64(s.grace/2))),
		Up:       time.Duration(now - s.started), Grace: s.grace,
	}
}
