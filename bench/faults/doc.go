// Package faults has the list of what duet is to survive, the measurements that tests of
// whole sites take of each, and the table of docs/FAULTS.md that is made of them.
//
// The tests are in bench/e2e. Each saves a Result where DUET_FAULTS names a directory;
// `make faults` runs them and writes the table. That every fault of the list has its row,
// and every row its fault, is tested here.
package faults
