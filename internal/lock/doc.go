// Package lock holds evidence locks: stretches of a camera's recording that no rule of
// retention may delete. A set of locks is a value that several recorders hold and that
// only grows: a release is a mark that is added, so two sets merge into the same one
// whatever the order in which they meet. Nothing here does I/O or reads a clock.
package lock
