package playback

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"google.golang.org/grpc"

	"github.com/duet-video/duet/internal/lock"
	"github.com/duet-video/duet/internal/nodepb"
)

// lockDeadline is how long a recorder may take to make a lock durable.
const lockDeadline = 8 * time.Second

// Locks is the answer of GET /v1/locks.
type Locks struct {
	Locks []LockView `json:"locks"`
	// Silent recorders may know of more.
	Silent []string `json:"silent" doc:"Recorders that did not answer, and may know of more."`
}

// LockView is an evidence lock, and how far it has spread.
type LockView struct {
	ID         string   `json:"id"`
	Camera     string   `json:"camera"`
	Start      stamp    `json:"start"`
	End        stamp    `json:"end"`
	Reason     string   `json:"reason"`
	By         string   `json:"by,omitempty"`
	Created    stamp    `json:"created"`
	Released   *stamp   `json:"released,omitempty"`
	ReleasedBy string   `json:"releasedBy,omitempty"`
	InForce    []string `json:"inForce" doc:"Recorders on which it is in force."`
	Pending    []string `json:"pending" doc:"Recorders that have not heard of it, or of its release. They do when they return, from the others, before they delete anything."`
}

// lockBody is the body of POST /v1/locks.
type lockBody struct {
	Camera string `json:"camera,omitempty" doc:"Name of the camera." example:"gate"`
	Start  string `json:"start,omitempty" doc:"RFC 3339. Inclusive." example:"2026-03-01T12:00:00Z"`
	End    string `json:"end,omitempty" doc:"RFC 3339. Exclusive. Now, if it is left out." example:"2026-03-01T12:30:00Z"`
	Reason string `json:"reason,omitempty" doc:"Why, for people." example:"case 4711"`
	By     string `json:"by,omitempty" doc:"Who, for people."`
}

type placeLockInput struct{ Body lockBody }

type listLocksInput struct {
	Camera   string `query:"camera" doc:"Only those of this camera."`
	Released bool   `query:"released" doc:"Those that were released, too."`
}

type releaseLockInput struct {
	ID string `path:"id" doc:"ID of the lock."`
	By string `query:"by" doc:"Who, for people."`
}

// registerLocks adds the operations on locks.
func (s *Service) registerLocks(api huma.API, errs func(codes ...int) map[string]*huma.Response) {
	huma.Register(api, huma.Operation{
		OperationID: "list-locks", Method: http.MethodGet, Path: "/v1/locks",
		Summary: "Evidence locks, and on which recorders they are in force", Responses: errs(503),
	}, func(ctx context.Context, in *listLocksInput) (*bodyOf[Locks], error) {
		l, err := s.listLocks(ctx, in)
		if err != nil {
			return nil, err
		}
		return fresh(l), nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "place-lock", Method: http.MethodPost, Path: "/v1/locks", DefaultStatus: http.StatusCreated,
		Summary: "Protect footage from every rule of retention, on all recorders",
		Description: "The answer comes when the lock is durable on at least one recorder; pending names those that get it when they return. " +
			"Segments that the range touches are kept whole. Refused where there is no footage, where a lock of the camera overlaps, and where locks would fill a disk.",
		Responses: errs(400, 404, 409, 503, 507),
	}, func(ctx context.Context, in *placeLockInput) (*bodyOf[LockView], error) {
		l, err := s.placeLock(ctx, &in.Body)
		if err != nil {
			return nil, err
		}
		return fresh(l), nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "release-lock", Method: http.MethodDelete, Path: "/v1/locks/{id}",
		Summary: "Release a lock: retention treats its footage like any other again", Responses: errs(400, 404, 503),
	}, func(ctx context.Context, in *releaseLockInput) (*bodyOf[LockView], error) {
		l, err := s.releaseLock(ctx, in)
		if err != nil {
			return nil, err
		}
		return fresh(l), nil
	})
}

// known is what recorders know of locks.
type known struct {
	all    lock.Set            // of those that answered
	by     map[string]lock.Set // by recorder
	silent []string
}

// exchangeLocks tells all recorders of locks, or asks only, and returns what they know.
func (s *Service) exchangeLocks(ctx context.Context, locks ...lock.Lock) (known, error) {
	q := &nodepb.ExchangeLocksRequest{}
	for _, l := range locks {
		q.Locks = append(q.Locks, l.ToProto())
	}
	got, silent := ask(ctx, lockDeadline, s.pool.recorders, func(ctx context.Context, p *peer) (lock.Set, error) {
		var set lock.Set
		err := p.call(ctx, func(ctx context.Context) error {
			reply, err := p.recorder.ExchangeLocks(ctx, q, grpc.WaitForReady(true))
			if err != nil {
				return err
			}
			list, err := lock.FromProto(reply.GetLocks())
			set, _ = lock.Set{}.With(list...)
			return err
		})
		return set, err
	})
	k := known{by: map[string]lock.Set{}}
	for _, a := range got {
		k.by[a.peer.Name] = a.value
		k.all, _ = k.all.With(a.value.All()...)
	}
	var why []string
	for _, x := range silent {
		k.silent = append(k.silent, x.peer.Name)
		why = append(why, fmt.Sprintf("%s: %v", x.peer.Name, x.err))
		s.warn("locks "+x.peer.Name, func(n int) {
			s.o.Log.Warn().Str("recorder", x.peer.Name).Int("suppressed", n).Err(x.err).Msg("no answer about evidence locks")
		})
	}
	slices.Sort(k.silent)
	if len(got) == 0 {
		return k, &Problem{
			Type: problemSilent, Status: http.StatusServiceUnavailable, Title: "No recorder answers",
			Detail: "No recorder could tell or take evidence locks: " + strings.Join(why, "; ") + ".", Recorders: k.silent,
			header: http.Header{"Retry-After": {"1"}},
		}
	}
	return k, nil
}

// view says how far a lock has spread.
func (k *known) view(s *Service, l *lock.Lock) LockView {
	v := LockView{
		ID: l.ID, Camera: l.Camera, Start: at(l.StartNS), End: at(l.EndNS), Reason: l.Reason, By: l.By, Created: at(l.CreatedNS),
		Released: atOrNil(l.ReleasedNS), ReleasedBy: l.ReleasedBy, InForce: []string{}, Pending: []string{},
	}
	for _, p := range s.pool.recorders {
		theirs, ok := k.by[p.Name].Get(l.ID)
		if ok && theirs.Active() {
			v.InForce = append(v.InForce, p.Name)
		}
		if !ok || theirs.Active() != l.Active() {
			v.Pending = append(v.Pending, p.Name)
		}
	}
	return v
}

func (s *Service) listLocks(ctx context.Context, in *listLocksInput) (Locks, error) {
	if in.Camera != "" {
		if err := s.checkCamera(in.Camera); err != nil {
			return Locks{}, err
		}
	}
	k, err := s.exchangeLocks(ctx)
	if err != nil {
		return Locks{}, err
	}
	out := Locks{Locks: []LockView{}, Silent: append([]string{}, k.silent...)}
	for _, l := range k.all.All() {
		if (in.Camera == "" || l.Camera == in.Camera) && (in.Released || l.Active()) {
			out.Locks = append(out.Locks, k.view(s, &l))
		}
	}
	return out, nil
}

func (s *Service) placeLock(ctx context.Context, in *lockBody) (LockView, error) {
	if err := s.checkCamera(in.Camera); err != nil {
		return LockView{}, err
	}
	now := s.clock.Now()
	span, err := parseRange(in.Start, in.End, now, true, s.o.Limits.Timeline)
	if err != nil {
		return LockView{}, err
	}
	if err := lock.CheckText("reason", in.Reason, lock.MaxReason); err != nil {
		return LockView{}, lockText("reason", err)
	}
	if err := checkBy(in.By); err != nil {
		return LockView{}, err
	}
	k, err := s.exchangeLocks(ctx)
	if err != nil {
		return LockView{}, err
	}
	if err := overlapped(&k, in.Camera, span); err != nil {
		return LockView{}, err
	}
	if err := s.hasFootage(ctx, in.Camera, span); err != nil {
		return LockView{}, err
	}
	if err := s.hasLockRoom(ctx, in.Camera, span); err != nil {
		return LockView{}, err
	}
	l := lock.Lock{
		ID: rand.Text(), Camera: in.Camera, StartNS: span.startNS, EndNS: span.endNS,
		Reason: in.Reason, By: in.By, CreatedNS: now.UnixNano(),
	}
	if k, err = s.exchangeLocks(ctx, l); err != nil {
		return LockView{}, err
	}
	v := k.view(s, &l)
	s.o.Log.Info().Str("lock", l.ID).Str("camera", l.Camera).Stringer("start", v.Start).Stringer("end", v.End).Str("by", l.By).
		Strs("inForce", v.InForce).Strs("pending", v.Pending).Msg("evidence lock placed")
	return v, nil
}

func (s *Service) releaseLock(ctx context.Context, in *releaseLockInput) (LockView, error) {
	if err := checkBy(in.By); err != nil {
		return LockView{}, err
	}
	k, err := s.exchangeLocks(ctx)
	if err != nil {
		return LockView{}, err
	}
	l, ok := k.all.Get(in.ID)
	if !ok {
		p := &Problem{
			Type: problemLock, Status: http.StatusNotFound, Title: "There is no such lock", Field: "id", Recorders: k.silent,
			Detail: fmt.Sprintf("No recorder that answered knows a lock %q; /v1/locks lists them.", in.ID),
		}
		if len(k.silent) > 0 {
			p.Detail += " Not heard: " + strings.Join(k.silent, ", ") + "."
		}
		return LockView{}, p
	}
	if l.Active() {
		l.ReleasedNS, l.ReleasedBy = s.clock.Now().UnixNano(), in.By
	}
	if k, err = s.exchangeLocks(ctx, l); err != nil {
		return LockView{}, err
	}
	l, _ = k.all.Get(l.ID)
	v := k.view(s, &l)
	s.o.Log.Info().Str("lock", l.ID).Str("camera", l.Camera).Str("by", l.ReleasedBy).Strs("pending", v.Pending).Msg("evidence lock released")
	return v, nil
}

func lockText(field string, err error) error {
	return &Problem{
		Type: problemLockText, Status: http.StatusBadRequest, Title: "The lock cannot be placed like this", Field: field,
		Detail: err.Error() + "; it is text of one line, for people.",
	}
}

func checkBy(by string) error {
	if by == "" {
		return nil
	}
	if err := lock.CheckText("by", by, lock.MaxBy); err != nil {
		return lockText("by", err)
	}
	return nil
}

// overlapped refuses a lock that another one of the camera overlaps.
func overlapped(k *known, camera string, span stretch) error {
	for _, l := range k.all.Active(camera) {
		if l.Overlaps(span.startNS, span.endNS) {
			return &Problem{
				Type: problemLocked, Status: http.StatusConflict, Title: "Another lock overlaps", Field: "start", Lock: l.ID,
				Detail: fmt.Sprintf("Lock %s of camera %s (%q) covers %s … %s; lock what is before or after it, or release it first.",
					l.ID, camera, l.Reason, at(l.StartNS), at(l.EndNS)),
			}
		}
	}
	return nil
}

// hasFootage refuses a lock on what nobody has.
func (s *Service) hasFootage(ctx context.Context, camera string, span stretch) error {
	var silent []string
	sources, _, _ := s.spans(ctx, camera, span)
	for _, src := range sources {
		if src.Unknown {
			silent = append(silent, src.Name)
		}
		for _, x := range src.Spans {
			if x.StartNS < span.endNS && span.startNS < x.EndNS {
				return nil
			}
		}
	}
	if len(silent) > 0 {
		return &Problem{
			Type: problemSilent, Status: http.StatusServiceUnavailable, Title: "Recorders do not answer", Recorders: silent,
			Detail: "Nobody who answered has footage of the range, and these may have some: " + strings.Join(silent, ", ") + ".",
			header: http.Header{"Retry-After": {"1"}},
		}
	}
	return &Problem{
		Type: problemEmpty, Status: http.StatusNotFound, Title: "There is no footage to lock", Nearest: s.nearest(ctx, camera, span),
		Detail: fmt.Sprintf("No recorder has footage of camera %s from %s to %s.", camera, at(span.startNS), at(span.endNS)),
	}
}

// hasLockRoom refuses a lock that would leave a recorder no room to record.
func (s *Service) hasLockRoom(ctx context.Context, camera string, span stretch) error {
	got, _ := ask(ctx, lockDeadline, s.pool.holders(camera), func(ctx context.Context, p *peer) (reply *nodepb.LockRoomReply, err error) {
		err = p.call(ctx, func(ctx context.Context) error {
			reply, err = p.recorder.LockRoom(ctx, &nodepb.LockRoomRequest{Camera: camera, StartNs: span.startNS, EndNs: span.endNS}, grpc.WaitForReady(true))
			return err
		})
		return reply, err
	})
	var full []string
	for _, a := range got {
		for _, d := range a.value.GetDisks() {
			if d.GetRefused() {
				full = append(full, fmt.Sprintf("on recorder %s, %s, locks keep %d bytes, this one would add %d, and %d is the most that they may keep",
					a.peer.Name, d.GetPath(), d.GetLockedBytes(), d.GetAddedBytes(), d.GetLimitBytes()))
			}
		}
	}
	if len(full) == 0 {
		return nil
	}
	return &Problem{
		Type: problemLocksFull, Status: http.StatusInsufficientStorage, Title: "Locks would fill a disk",
		Detail: "Recording would soon have no room: " + strings.Join(full, "; ") + ". Lock a shorter range, release other locks, or give the recorder more disk.",
	}
}
