// Package recorder consumes the logs of proxies and keeps them as fragments on one
// disk, durably, and serves them to playback.
//
// The way of the data: subscriber (one link stream per proxy) → feed (one camera's
// records to fragments) → writer (fragments to segment files) → committer (fdatasync,
// then index, then acknowledgement) → server (what is durable, to whoever asks).
//
// Invariants:
//
//   - The index never names bytes that are not durable, and nothing is acknowledged
//     that the index does not name. docs/DURABILITY.md has the order and every window
//     in which a crash may fall.
//   - Nothing waits in a queue without a bound: when the disk is slow, the link is not
//     read, and the proxy's log holds the data.
//   - Nobody who asks for the state of the recorder waits for its disk.
//   - Two recorders that consumed the same offsets hold the same bytes.
package recorder
