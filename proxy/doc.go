// Package proxy pulls cameras, each once, and fans their RTP packets to recorders and
// live readers.
//
// The way of the data through the package: session (a camera's RTSP session) → Log (the
// bounded window of its records in memory) → Cursor (one for each consumer) → link
// server (recorders) and endpoint (live readers). A camera that misbehaves, a recorder
// that hangs and a reader that is slow each hurt nobody else: the log never waits for a
// cursor, and what a cursor did not take in time it is told as lost, exactly.
//
// Proxy and Cursor document what may be called concurrently. Order of locks: Budget.mu,
// then Log.mu; no other lock is held while one of them is taken.
package proxy
