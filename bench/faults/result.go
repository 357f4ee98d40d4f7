package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Dir is the environment variable that names the directory of results.
const Dir = "DUET_FAULTS"

// Result is what was measured of one fault. Durations are from its beginning, or from its
// end where that is said; memory is anonymous memory that is resident, in bytes.
type Result struct {
	Fault   string  `json:"fault"` // its ID
	Machine Machine `json:"machine"`
	// Signs are what a user sees, the first one first: codes of alarms, with their text.
	Signs []Sign `json:"signs"`
	// What works while it lasts.
	Live     string `json:"live"`
	Record   string `json:"record"`
	Playback string `json:"playback"`
	Export   string `json:"export"`
	// Twice is when everything that comes in is recorded twice again; AfterHeal: counted
	// from the end of the fault, as is Complete, when both copies hold the same. Negative:
	// not before the test was over, or not asked for.
	Twice     time.Duration `json:"twice"`
	AfterHeal bool          `json:"afterHeal"`
	Complete  time.Duration `json:"complete"`
	// Memory of the recorder that it concerns: when it began, the most meanwhile, and what
	// the test allows.
	MemoryBefore int64 `json:"memoryBefore"`
	MemoryMost   int64 `json:"memoryMost"`
	MemoryBound  int64 `json:"memoryBound"`
}

// Sign is something that a user sees.
type Sign struct {
	// From is the node that it is about.
	From string `json:"from"`
	Code string `json:"code"`
	Text string `json:"text"`
	// After is from the beginning of the fault.
	After time.Duration `json:"after"`
}

// Save writes the result to the directory that Dir names, if it names one. A fault that is
// not in the catalogue is an error.
func Save(r *Result) error {
	if _, ok := Find(r.Fault); !ok {
		return fmt.Errorf("fault %q is not in the catalogue", r.Fault)
	}
	dir := os.Getenv(Dir)
	if dir == "" {
		return nil
	}
	r.Machine = ThisMachine()
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("save the result of %s: %w", r.Fault, err)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("save the result of %s: %w", r.Fault, err)
	}
	if err := os.WriteFile(filepath.Join(dir, r.Fault+".json"), append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("save the result of %s: %w", r.Fault, err)
	}
	return nil
}

// Load reads the results of a directory: one for each fault of the catalogue, in its order.
func Load(dir string) ([]Result, error) {
	var all []Result
	for _, f := range Catalogue() {
		b, err := os.ReadFile(filepath.Join(dir, f.ID+".json"))
		if err != nil {
			return nil, fmt.Errorf("%s (%s) left no result: %w", f.ID, f.Test, err)
		}
		var r Result
		if err := json.Unmarshal(b, &r); err != nil {
			return nil, fmt.Errorf("the result of %s: %w", f.ID, err)
		}
		if r.Fault != f.ID {
			return nil, fmt.Errorf("the result of %s says that it is of %q", f.ID, r.Fault)
		}
		all = append(all, r)
	}
	return all, nil
}
