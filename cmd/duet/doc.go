// Command duet records cameras twice and plays them back once: see `duet --help`.
//
// One file per subcommand, and nothing but wiring: what is configured (internal/config)
// becomes the options of proxy, recorder and playback.
//
// Exit codes: 0 done; 1 it failed, a plan was refused, or copies differ; 2 the command
// line or the configuration is wrong.
package main
