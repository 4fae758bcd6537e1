//go:build tools

// Package tools pins Jaeger, which cannot be installed by version.
package tools

import _ "github.com/jaegertracing/jaeger/cmd/jaeger"
