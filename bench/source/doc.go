// Package source plays many RTSP cameras for little: what measures others must not need
// the processors itself. Packets are made once, for all cameras; sending an access unit
// means to patch a few bytes of each packet and to write all of them at once.
//
// It is no camera to test correctness with (that is package camsim): it knows TCP alone,
// no pathologies but a dropped connection, and no ledger. What it has instead is a Mark
// in every access unit that any recording of it can be searched for, whatever its format.
package source
