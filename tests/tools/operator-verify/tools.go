//go:build tools

// Package tools pins operator-verify, which checks manifests of OLM bundles.
package tools

import _ "github.com/operator-framework/api/cmd/operator-verify"
