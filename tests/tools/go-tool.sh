#!/usr/bin/env bash
# go-tool.sh NAME [--if-built]: prints where a program is that tests/tools/NAME pins as a Go module: GASTOWN_NAME (operator-sdk:
# GASTOWN_OPERATOR_SDK), the cache, or built there, which takes minutes and once; with --if-built nothing, where it is not there.
set -eu
name=$1
cd "$(dirname "$0")/$name"
given=GASTOWN_$(tr a-z- A-Z_ <<<"$name")
if [ -n "${!given:-}" ]; then
  echo "${!given}"
  exit 0
fi
case $name in
  operator-sdk) export CGO_ENABLED=0; tags=containers_image_openpgp ;;
  opm) export CGO_ENABLED=1; tags=json1,containers_image_openpgp ;;
  *) export CGO_ENABLED=0; tags= ;;
esac
print=$(cat go.mod go.sum | sha256sum | cut -c1-16)
folder=${XDG_CACHE_HOME:-$HOME/.cache}/gastown-testbed/$name-$print
if [ ! -x "$folder/$name" ]; then
  [ "${2:-}" != --if-built ] || exit 0
  package=$(go list -e -tags tools -f '{{join .Imports " "}}' .)
  echo "$name: building $package (minutes)" >&2
  mkdir -p "$folder"
  go build -trimpath -mod=readonly -tags "$tags" -o "$folder/$name.$$" "$package"
  mv "$folder/$name.$$" "$folder/$name"
fi
echo "$folder/$name"
