//go:build tools

// Package tools pins OLM's own operator and its definitions.
package tools

import _ "github.com/operator-framework/operator-lifecycle-manager/cmd/olm"
