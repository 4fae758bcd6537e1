//go:build tools

// Package tools pins opm, which checks catalogs of OLM.
package tools

import _ "github.com/operator-framework/operator-registry/cmd/opm"
