// Package evidence makes and checks the manifest at the end of an export: a signed list
// of all that the file is made of, so that whoever has the file and the certificate of
// the site's CA can tell, without a server, that nothing in it was changed, added or
// removed, and which fragments of which recorders it shows.
//
// docs/FORMAT.md, "Export manifest", has the form byte by byte. Everything here is pure
// but for reading the file; nothing keeps state.
package evidence
