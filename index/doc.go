// Package index knows which fragments a recorder holds, durably, and where; and merges
// what any number of recorders hold.
//
// The store (Pebble) and the merge (pure functions on sorted references) live side by
// side because they share the order: references of a camera sort by start time, then
// epoch, then first offset. The package knows no network.
//
// The way of the data through the package: Ref (what is known of a fragment) →
// Store.Commit (one synced batch: fragments, spans, segments, totals, position) →
// Store.Fragments and Store.Spans (one scan each) → Merge (listings of several
// recorders) and Timeline (their spans).
//
// What holds of a Store:
//
//   - It never names what is not durable: the recorder commits after it has synced the
//     media, and a commit is synced before it returns.
//   - A commit is all or nothing, through power cuts and failed disks.
//   - What it says is a function of the set of references that it was given, whatever
//     their order: that is why one that is rebuilt from media equals the one that was
//     lost.
//   - A disk that fails ends the store (ErrFailed), never the process; see freezer.
//   - A listing holds no lock and no iterator while its reader works.
//
// Locks of a Store, in this order: life (held for reading by every call), writing (one
// change at a time), mu (what is in memory). Nothing calls out while it holds one.
//
// docs/FORMAT.md has keys and values byte by byte.
package index
