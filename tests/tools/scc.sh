#!/usr/bin/env bash
# Prints where the program is that asks OpenShift's own admission of security context constraints: GASTOWN_SCC, the cache, or built
# from tests/tools/scc, which takes minutes and once; with --cached nothing, where it was not built yet.
set -eu
if [ -n "${GASTOWN_SCC:-}" ]; then
  echo "$GASTOWN_SCC"
  exit 0
fi
cd "$(dirname "$0")/scc"
print=$(cat go.mod go.sum ./*.go ./*.yaml | sha256sum | cut -c1-16)
folder=${XDG_CACHE_HOME:-$HOME/.cache}/gastown-testbed/scc-$print
if [ ! -x "$folder/scc" ]; then
  [ "${1:-}" != --cached ] || exit 0
  echo "scc: building (minutes)" >&2
  mkdir -p "$folder"
  CGO_ENABLED=0 go build -trimpath -mod=readonly -o "$folder/scc.new" .
  mv "$folder/scc.new" "$folder/scc"
fi
echo "$folder/scc"
