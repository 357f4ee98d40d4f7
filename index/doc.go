// Package index knows which fragments a recorder holds, durably, and where; and merges
// what any number of recorders hold.
//
// The store (Pebble) and the merge (pure functions on sorted references) live side by
// side because they share the order: references of a camera sort by start time, then
// epoch, then first offset. The package knows no network.
package index
