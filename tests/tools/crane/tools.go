//go:build tools

// Package tools pins crane, whose registry is what tests push to.
package tools

import _ "github.com/google/go-containerregistry/cmd/crane"
