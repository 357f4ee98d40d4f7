// Package load measures duet and its peers on this machine: real processes, one system at
// a time, in turns (A B C, A B C), so that what changes on the machine meanwhile changes all
// of them alike. What it reports are processor times of processes as the kernel counts
// them, what was lost, and latencies; each figure is the median of the rounds, beside the
// least and the largest.
//
// A work (Record, Live, Failover, Playback) is a function of its options to a Report, which
// is written as a table, as JSON and as plots. Cameras, relays and readers are processes of
// their own, roles of this program (see Role), so that they are measured alone, or not at all.
//
// Everything is on the loopback address and on ports that were free; processes are ended by
// their ids, when ctx ends too; data is below one directory, which is removed.
package load
