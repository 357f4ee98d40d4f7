// Package record holds the nouns that every part of duet shares: epoch, offset,
// position and record, and the one binary form in which a record lives in the
// proxy's log and crosses the link.
//
// A camera is a log. Within an epoch the records are numbered 0, 1, 2 … without a
// hole, so that "what is missing" is arithmetic on offsets.
//
// Everything here is a value or a pure function; nothing keeps state, so everything
// may be called concurrently.
package record
