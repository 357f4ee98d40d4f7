// Package nodepb holds the generated messages and services that duet's nodes speak to
// each other; `make proto` writes it anew from node.proto.
package nodepb
