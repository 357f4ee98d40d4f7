// Package pki is the small certificate authority of a duet site: one CA, one
// certificate for each node, and the TLS configurations in which both ends prove who
// they are.
//
// A directory holds ca.crt and ca.key, and NAME.crt and NAME.key for each node. A node
// needs ca.crt and its own pair; ca.key is needed only where certificates are made.
// Keys are ECDSA P-256 and readable by their owner alone. Nodes speak TLS 1.3 and
// nothing older, and a node is known by its name (a DNS name of its certificate), not
// by its address.
package pki
