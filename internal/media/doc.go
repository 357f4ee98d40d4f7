// Package media turns records into fragments and reads fragments back.
//
// A fragment is a pure function of its records and of the capture time at which the
// next one starts: the same records give the same bytes on any machine. Nothing of a
// recorder (its name, its clock, its files) enters them, and no state is carried from
// one fragment to the next.
//
// The way of the data through the package: Description (what a track is) →
// Builder (records to one fragment) → Info (what is known of a fragment, and its box)
// → Samples (a fragment's access units again).
package media
