package config

import _ "embed"

// Example is a complete file with every key, each with a comment.
//
//go:embed example.yaml
var Example string
