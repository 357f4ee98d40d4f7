// Package camsim simulates RTSP cameras that keep a ledger of everything they produce.
//
// A camera loops a clip at real pace, marks each access unit with its number and writes
// it into its ledger (package bench/ledger), whether a client is connected or not: like a
// real camera, it does not wait for anybody. What real cameras do wrong can be switched on
// from the start (CameraOptions) or while it runs (the methods of Camera, or HTTP).
//
// The way of the data: clip → track (numbers, marks, packets) → camera (pace, ledger) →
// gortsplib's ServerStream → conn (which can tear a packet in two).
//
// Sim and Camera may be used concurrently. What gortsplib's server does not let a camera
// choose: its SSRC.
package camsim
