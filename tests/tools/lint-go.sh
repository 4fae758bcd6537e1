#!/usr/bin/env bash
# gofmt over every Go file, and golangci-lint where it is, else go vet, over every program. The first time takes minutes: what a
# program is made of, up to Kubernetes itself, is fetched and compiled for its types.
set -eu
cd "$(dirname "$0")/../.."
unformatted=$(gofmt -l tests)
[ -z "$unformatted" ] || { echo "lint-go: gofmt -w $unformatted" >&2; exit 1; }
for program in $(find tests -name main.go | sort); do
  cd "${program%/*}"
  if command -v golangci-lint >/dev/null; then golangci-lint run --timeout 20m ./...; else go vet ./...; fi
  cd - >/dev/null
done
