// Package replay serves recorded footage over RTSP: at the pace of real time to plain
// players, and to VMS clients as the ONVIF Streaming Specification says in "Playback".
//
// The way of a session through the package:
//
//	conn      requests and answers (RFC 2326)
//	session   tracks, transports, the state between SETUP and TEARDOWN
//	ask       what a PLAY asks for
//	walker    which fragment comes next, and what lies between two of them
//	unroll    the access units of a fragment, in the order of sending, with their marks
//	playout   when each is due, and which RTP timestamp it has
//	track     SDP and RTP payloads of an access unit
//	fetcher   carries that out: it lists and reads footage
//	player    and waits until it is due, and sends it
//
// walker, unroll and playout are pure: they take times and return values.
//
// What must hold:
//   - What a client gets are stored access units, unchanged, each once and in order, from
//     a clean point on. A stretch that is missing is marked by E before and D after it.
//   - The SSRC of a track is the same for the whole session, its sequence numbers go on,
//     and so do timestamps, whatever recorders do. Only a seek may move timestamps of
//     Rate-Control: no back.
//   - A session holds one fragment, and for the last moments of it the next one as well.
//   - A client that does not read is closed, and costs nobody else anything.
package replay
