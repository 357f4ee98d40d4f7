// Package web serves the page of a playback node: what people see at its root.
//
// The page is TypeScript below src; `make web` bundles it with Vite into dist/page, which
// is embedded here. Nothing of it comes from elsewhere when it runs: it works on a
// network without the Internet. A program that was built without `make web` serves a few
// words instead, that say so.
//
// A Page is safe for concurrent use.
package web
