// Package nodepb holds the generated messages and services that duet's nodes speak to
// each other, which `make proto` writes anew from node.proto, and a codec that moves their
// large ones without copies.
package nodepb
