// Package playback answers for what the recorders hold: timelines, exports, health.
//
// It is stateless. For every request it asks the recorders that may hold the camera, in
// parallel and with a deadline, merges what they say (package index), and reads each
// fragment from the better copy. On an error, a stall or a hash that does not match, it
// reads that fragment from another copy within the same response.
//
// The way of a request through the package: api (what is asked) → ask (who may know) →
// plan (which fragments, held by whom, and what is missing) → virtual (the plan as a
// file of known length) → reader (bytes, verified) → response.
//
// What must hold:
//   - A byte that a client gets is part of a fragment whose SHA-256 was checked.
//   - A fragment of the plan is never left out: the response is broken off instead.
//   - A recorder that did not answer leaves "unknown", never a gap.
//   - A dead or hung recorder delays an answer by the deadline once, and is then
//     skipped until a probe succeeds, unless nobody else answers.
//
// A Service may be used concurrently.
package playback
