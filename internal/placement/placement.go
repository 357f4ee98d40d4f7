// Package placement decides which two recorders hold a camera. Pure: the same input
// gives the same plan, on any machine and in any order.
//
// What holds of every plan, the first before the second and so on:
//
//   - A camera has a primary and a redundant recorder of these roles, never the same.
//   - What is given by hand stays as it is given.
//   - No recorder gets more than its declared capacity (see Load.Peak).
//   - The copies are in different zones, when a recorder in another zone has room.
//   - The cameras of a role are spread by bit rate in proportion to capacity: where
//     neither hands, zones nor capacities stand against it, no recorder gets more than
//     1.15 times its share and one camera.
//   - When a recorder comes or goes, few cameras move but those that must (weighted
//     rendezvous hashing with bounded loads).
package placement

// Role is what a recorder is for.
type Role string

// The roles.
const (
	Primary   Role = "primary"
	Redundant Role = "redundant"
)

// Copies says when the redundant recorder of a camera records.
type Copies string

// The modes.
const (
	Dual  Copies = "dual"  // both record always
	Spare Copies = "spare" // the redundant one records when the primary does not
)

// Camera is a camera to place.
type Camera struct {
	Name string
	// Bitrate is what it is expected to send, bit/s; 0 means DefaultBitrate.
	Bitrate int64
	// Primary and Redundant name its recorders where they are given by hand.
	Primary, Redundant string
	// Copies is Dual when empty.
	Copies Copies
}

// DefaultBitrate is assumed of a camera that does not declare its own, in bit/s.
const DefaultBitrate = 4_000_000

// Recorder is a recorder that cameras may be placed on.
type Recorder struct {
	Name string
	Role Role
	// Zone is what fails together, a room or a power feed; may be empty.
	Zone string
	// Capacity is what it can record, bit/s; 0 means that it is not declared.
	Capacity int64
	// Quota is what it may store, bytes; 0 means that it is not declared.
	Quota int64
}

// Pair names the recorders of a camera.
type Pair struct {
	Primary, Redundant string
	Copies             Copies
}

// Load is what a plan asks of a recorder.
type Load struct {
	Recorder Recorder
	Cameras  int
	// Bitrate is the sum of its cameras' bit rates when all of them record, bit/s.
	Bitrate int64
	// Peak is what it must be able to record at once, bit/s: its cameras without the
	// spare copies, and the spare copies of the one primary whose failure asks most of
	// it. It is what Capacity bounds: one recorder may fail at a time.
	Peak int64
	// Retention is how long its quota lasts at rate Bitrate, in seconds; 0: not known.
	Retention int64
}

// Plan is a placement.
type Plan struct {
	// Cameras has the pair of every camera, by name.
	Cameras map[string]Pair
	// Loads has every recorder, in the order given.
	Loads []Load
	// Warnings has what is allowed and unwise, one for each zone that has both copies of
	// some cameras. Each names the first of them, and is in the order of the input.
	Warnings []*Problem
}

// New places cameras on recorders; neither slice is kept or changed. The error joins
// (errors.Join) one *Problem for each thing that is wrong: those of cameras in their
// order, then those of recorders in theirs, then the others.
//
// When nothing is wrong but that capacities do not suffice, the plan comes with the
// error: for people to see what is asked of each recorder, not to be run.
func New(cameras []Camera, recorders []Recorder) (*Plan, error) {
	p := newPlanner(cameras, recorders)
	p.validate()
	if len(p.problems) > 0 {
		return nil, p.err()
	}
	p.place()
	return p.plan(), p.err()
}

// Problem is one reason why there is no plan.
type Problem struct {
	Camera, Recorder string // those it is about; may be empty
	Message          string // for people, names both
}

func (p *Problem) Error() string { return p.Message }
