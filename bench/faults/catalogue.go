package faults

// Fault is something that breaks.
type Fault struct {
	// ID names it in results: a-z, 0-9 and dashes.
	ID string
	// Name says what happens, for people.
	Name string
	// Test makes it happen, with real processes.
	Test string
}

// The tests of bench/e2e.
const (
	otherDisk = "TestDiskFaultsMoveCamerasToTheOtherDisk"
	onlyDisk  = "TestDiskFaultsOfAnOnlyDisk"
	sickDisk  = "TestSlowDiskAndDiskThatLies"
	processes = "TestFaultsOfProcessesAndNetwork"
	damage    = "TestDamageOnOneRecorderIsNeverShown"
	allCopies = "TestDamageOfEveryCopyIsAGapAndNeverShown"
)

// Catalogue returns all faults, in the order of the table.
func Catalogue() []Fault {
	return []Fault{
		{"full-2", "disk full (ENOSPC), another disk is there", otherDisk},
		{"full-1", "the only disk full (ENOSPC)", onlyDisk},
		{"inodes-2", "inodes used up, another disk is there", otherDisk},
		{"dead-2", "one of two disks dead: I/O errors for good", otherDisk},
		{"write-eio-1", "EIO on every write, the only disk", sickDisk},
		{"fsync-lies-1", "EIO on fsync, what was written is lost, and the second fsync lies; the only disk", sickDisk},
		{"read-only-2", "read-only after an error of the file system, another disk is there", otherDisk},
		{"hung-2", "disk hangs (`fsfreeze`), another disk is there", otherDisk},
		{"hung-1", "the only disk hangs (`fsfreeze`)", onlyDisk},
		{"slow-1", "the only disk is slow: 2.2 s for each fsync, 20 ms for each write", sickDisk},
		{"unmounted-2", "disk unmounted, another disk is there", otherDisk},
		{"unmounted-1", "the only disk unmounted", onlyDisk},
		{"wrong-1", "another disk mounted in place of the only one", onlyDisk},
		{"removed-2", "data directory taken away, another disk is there", otherDisk},
		{"index-1", "index damaged: Pebble refuses to open it; reads take 25 ms", sickDisk},
		{"torn-1", "killed; index, media and ends of files damaged meanwhile", onlyDisk},
		{"bits", "bits flipped in one copy, while it is recorded", damage},
		{"truncated", "a file of one copy cut off, while the recorder was away", damage},
		{"bits-all", "bits flipped in every copy of a fragment", allCopies},
		{"killed", "recorder killed, for longer than the log", processes},
		{"stopped", "recorder stopped (SIGSTOP), for longer than the log", processes},
		{"partition", "no packet passes between proxy and recorder, for longer than the log", processes},
		{"camera", "camera lost", processes},
	}
}

// Find returns the fault of an ID.
func Find(id string) (Fault, bool) {
	for _, f := range Catalogue() {
		if f.ID == id {
			return f, true
		}
	}
	return Fault{}, false
}
