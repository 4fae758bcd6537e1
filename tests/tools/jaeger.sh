#!/usr/bin/env bash
# Prints where Jaeger is: GASTOWN_JAEGER, the cache, or built from its Go module, which takes ten minutes and once.
set -eu
cd "$(dirname "$0")/jaeger"
version=$(go list -m -f '{{.Version}}' github.com/jaegertracing/jaeger)
if [ -n "${GASTOWN_JAEGER:-}" ]; then
  echo "$GASTOWN_JAEGER"
  exit 0
fi
folder=${XDG_CACHE_HOME:-$HOME/.cache}/gastown-testbed/jaeger-$version
if [ ! -x "$folder/jaeger" ]; then
  echo "jaeger: building $version (about ten minutes)" >&2
  mkdir -p "$folder"
  go build -trimpath -mod=readonly -o "$folder/jaeger.new" github.com/jaegertracing/jaeger/cmd/jaeger
  mv "$folder/jaeger.new" "$folder/jaeger"
fi
echo "$folder/jaeger"
