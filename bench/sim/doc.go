// Package sim runs a whole site in one process: simulated cameras, a proxy, recorders and
// playback, the real ones, on file systems in memory, over a network in memory, by a clock
// that stands still while anybody works (testing/synctest). A minute of recording takes a
// few dozen milliseconds, so that thousands of random stories of crashes, partitions and
// failing disks are told in the time that one takes on real machines.
//
// The way through the package: Site (the nodes, and what can be done to them) → command
// (one line of a script) → script and story (golden files, and lists drawn from a seed) →
// check (what must hold when all has healed). What must hold is listed in invariant.go; it
// is checked by crash.go (disks after a crash), retention.go and evidence.go (what is
// deleted), copies.go (the two copies), readers.go (clients), observe.go (all the time) and
// check.go (playback and the rest).
//
// What is simulated and what is not: everything above the file system, the network and
// the RTSP client of cameras is the code that is shipped. Disks lose what was not synced, block by
// block, and tear the write that was under way; connections hang, are reset, are one-way.
// TLS, cameras over RTSP, and disks that hang are left out: bench/e2e has them.
//
// Time is exact, the order of what happens at one instant is the scheduler's. A seed
// therefore fixes the story, not every interleaving; GOMAXPROCS=1 brings it close.
package sim
