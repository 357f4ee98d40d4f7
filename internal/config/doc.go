// Package config reads duet.yaml, the one file that describes a site, and says what is
// wrong with it: every problem at once, each with its line.
//
// Load never changes anything and never reads the environment; Expand puts ${VARIABLES}
// into the places that hold credentials, on the machine that needs them. Nothing that
// this package prints or returns as an error contains a credential.
package config
