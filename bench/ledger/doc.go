// Package ledger is the oracle of the tests: what a camera sent, and whether a recording
// is exactly that.
//
// A simulated camera numbers its access units, marks each with its number (Mark) and
// writes down its hash and when it was sent (Writer). A checker (Check) compares the
// access units of a recording, whoever produced it (FromMP4, FromSegments, Capture), with
// the ledger: missing, extra, repeated, reordered, altered, and whether the reported gaps
// are the real ones.
//
// It shares no code with package internal/media, so that a mistake there cannot hide
// itself here.
//
// # The file
//
// One JSON object a line (JSON Lines), append-only. The first line is the Header; every
// other one is an Entry (it has "n") or an Event (it has "event"). A last line without a
// newline is being written and is ignored.
//
// # The hash
//
// SHA-256 of the access unit in the form in which MP4 stores it, so that it can be
// compared without knowing how it was packetized:
//
//	H.264, H.265  every NAL unit in the order sent, each after its length as u32 big endian
//	AAC           the raw_data_block
//	MJPEG         the JPEG that RFC 2435 depacketization gives (the headers of the
//	              original do not survive RTP)
//	G.711         the codes as sent. A recording holds them as 16-bit LPCM, which is turned
//	              back; that is exact, for the cameras never send the negative zero of µ-law
package ledger
