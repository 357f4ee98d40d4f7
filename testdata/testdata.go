// Package testdata embeds the clips that the simulated cameras loop. make.sh in this
// folder is the recipe they were made with.
package testdata

import "embed"

// Clips holds the clips by their file names: MP4, and raw G.711 (.alaw, .ulaw).
//
//go:embed *.mp4 *.alaw *.ulaw
var Clips embed.FS
