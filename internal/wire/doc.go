// Package wire is what connections of gRPC over TLS need to carry media at a low cost: few
// system calls, and buffers that are used again.
//
// It knows nothing of what is carried.
package wire

// IOBuffer is how much such a connection reads, and gathers before it writes, at once, in
// bytes: what grpc.WriteBufferSize is to be. grpc.ReadBufferSize is 0 then: the connection
// reads ahead, see NewTLS.
const IOBuffer = 256 << 10
