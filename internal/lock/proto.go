package lock

import "github.com/duet-video/duet/internal/nodepb"

// ToProto returns the form in which nodes tell each other of a lock.
func (l *Lock) ToProto() *nodepb.Lock {
	return &nodepb.Lock{
		Id: l.ID, Camera: l.Camera, StartNs: l.StartNS, EndNs: l.EndNS, Reason: l.Reason, By: l.By,
		CreatedNs: l.CreatedNS, ReleasedNs: l.ReleasedNS, ReleasedBy: l.ReleasedBy,
	}
}

// FromProto returns what another node says, checked: all of it, or an error.
func FromProto(in []*nodepb.Lock) ([]Lock, error) {
	out := make([]Lock, len(in))
	for i, m := range in {
		out[i] = Lock{
			ID: m.GetId(), Camera: m.GetCamera(), StartNS: m.GetStartNs(), EndNS: m.GetEndNs(), Reason: m.GetReason(), By: m.GetBy(),
			CreatedNS: m.GetCreatedNs(), ReleasedNS: m.GetReleasedNs(), ReleasedBy: m.GetReleasedBy(),
		}
		if err := out[i].Check(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
