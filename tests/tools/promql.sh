#!/usr/bin/env bash
# Prints where the program is that runs rules and queries by Prometheus' own engine: GASTOWN_PROMQL, the cache, or built from
# tests/tools/promql, which takes a minute and once; with --cached nothing, where it was not built yet.
set -eu
if [ -n "${GASTOWN_PROMQL:-}" ]; then
  echo "$GASTOWN_PROMQL"
  exit 0
fi
cd "$(dirname "$0")/promql"
print=$(cat go.mod go.sum ./*.go | sha256sum | cut -c1-16)
folder=${XDG_CACHE_HOME:-$HOME/.cache}/gastown-testbed/promql-$print
if [ ! -x "$folder/promql" ]; then
  [ "${1:-}" != --cached ] || exit 0
  echo "promql: building (about a minute)" >&2
  mkdir -p "$folder"
  go build -trimpath -mod=readonly -o "$folder/promql.new" .
  mv "$folder/promql.new" "$folder/promql"
fi
echo "$folder/promql"
