#!/usr/bin/env bash
# gofmt over every Go file, and golangci-lint where it is, else go vet, over the program that is compared with.
set -eu
cd "$(dirname "$0")/../.."
unformatted=$(gofmt -l tests)
[ -z "$unformatted" ] || { echo "lint-go: gofmt -w $unformatted" >&2; exit 1; }
for folder in tests/bench/elector tests/tools/promql; do
  cd "$folder"
  if command -v golangci-lint >/dev/null; then golangci-lint run --timeout 5m ./...; else go vet ./...; fi
  cd - >/dev/null
done
