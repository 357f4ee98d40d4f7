// Package link is the protocol that carries records from a proxy to a recorder: one
// gRPC stream over mutual TLS for each pair, all cameras multiplexed on it as channels.
//
// A message of the stream holds any number of frames (raw bytes, no protobuf; see
// docs/FORMAT.md). The recorder opens the stream, says who it is (Hello), and subscribes
// to cameras, each on a channel whose number it chooses, at the position that it needs
// next. For each channel the proxy then sends, in this order and again for every epoch:
//
//	Open   the records that follow belong to this epoch and begin at this offset
//	Batch  records, in offset order without a hole: its first offset is the one after
//	       the last record before it on the channel
//	Lost   the log no longer has these offsets; an Open at the next one that it has,
//	       always a cut, follows, or the End of the epoch where none is left. It also
//	       comes before any Open, where a subscription asks for what has left the log
//	Pause  delivery stops at a cut although the epoch goes on: the recorder is a spare
//	       and its primary has caught up. The fragment before the cut is whole
//	End    the epoch is over and everything up to its end has been sent or told lost
//
// After a Pause the channel stays subscribed; the proxy may go on at any time with an
// Open, at a later position that is not known beforehand. A channel that waits for its
// camera, or that is a spare, is silent.
//
// A subscription from the zero position begins at the oldest record that the log has.
// One from a position whose epoch the proxy does not know begins at the oldest epoch
// that it has and that is newer. One from the end of an epoch that is over is answered
// with its End, then the next Open. The recorder acknowledges durable positions (Ack).
//
// An idle proxy sends a message without frames every Heartbeat. Client and server find
// a dead peer within SilenceLimit.
//
// A stream may be read by one goroutine and written by another; not by two each.
package link
