//go:build tools

// Package tools pins helm-unittest, by which templates of the chart are tested.
package tools

import _ "github.com/helm-unittest/helm-unittest/cmd/helm-unittest"
