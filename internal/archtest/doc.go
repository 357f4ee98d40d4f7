// Package archtest holds the rules of the source tree as tests, each with its reason:
// who may import whom, and what no package may have.
package archtest
