//go:build tools

// Package tools pins operator-sdk, which checks OLM bundles. One dependency is a patch release older than its own go.mod says.
package tools

import _ "github.com/operator-framework/operator-sdk/cmd/operator-sdk"
