// Package node is what every duet process has beside its job: a port that serves both
// gRPC and plain HTTP, health and metrics pages, a logger, and a limit on repeating
// log lines.
//
// Everything exported may be used concurrently. It knows nothing of cameras.
package node
