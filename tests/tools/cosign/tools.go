//go:build tools

// Package tools pins cosign, which signs releases and verifies them.
package tools

import _ "github.com/sigstore/cosign/v2/cmd/cosign"
