// Package flame turns processor profiles of Go programs (pprof's format) into flame graphs
// that are one SVG file and into tables, without another program.
package flame
