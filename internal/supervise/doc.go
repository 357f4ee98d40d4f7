// Package supervise runs processes as children: it starts them in order, restarts those
// that die, with a back-off, puts their names in front of their output, and ends them
// in reverse order, each within a time limit.
//
// A child lives in a process group of its own, so that Ctrl-C at the terminal reaches
// the supervisor alone, and is killed by the kernel should the supervisor die.
package supervise
