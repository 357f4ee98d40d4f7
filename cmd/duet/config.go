package main

import (
	"io"

	"github.com/duet-video/duet/internal/config"
)

type configCmd struct{}

// Run prints the example.
func (*configCmd) Run(a *app) error {
	_, err := io.WriteString(a.stdout, config.Example)
	return err
}
