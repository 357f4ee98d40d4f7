// Package placement decides which two recorders hold a camera. Pure: the same input
// gives the same plan, on any machine.
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
	// Retention is how long its quota lasts at that rate, in seconds; 0: not known.
	Retention int64
}

// Plan is a placement.
type Plan struct {
	// Cameras has the pair of every camera, by name.
	Cameras map[string]Pair
	// Loads has every recorder, in the order given.
	Loads []Load
}

// New places cameras on recorders. The error joins (errors.Join) one *Problem for
// each thing that is wrong, in the order of the input.
func New(cameras []Camera, recorders []Recorder) (*Plan, error) { return nil, nil }

// Problem is one reason why there is no plan.
type Problem struct {
	Camera, Recorder string // those it is about; may be empty
	Message          string // for people, names both
}

func (p *Problem) Error() string { return p.Message }
