#!/usr/bin/env bash
# Writes the third-party notices of Cargo.lock: every crate that is linked into the programs, of either edition and
# architecture, with the texts that come with it: notices.sh FILE.
set -euo pipefail
into=$(realpath -m "$1")
cd "$(dirname "$0")/../.."
export LC_ALL=C
cargo=${CARGO:-cargo}
$cargo fetch --quiet --locked
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for target in x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu; do
  $cargo tree --offline --locked --package gastown --edges normal --prefix none --all-features --target "$target" --format '{p}|{l}|{r}'
done | sed 's/ (proc-macro)//; s/ (\*)$//' | grep -v '^gastown ' | sort -u >"$work/linked"
mkdir "$work/texts"
while IFS='|' read -r crate license repository; do
  folder=$(ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"${crate/ v/-}" | head -1)
  found=
  while read -r file; do
    found=yes
    sum=$(tr -d '\r' <"$file" | tr -s ' \n' ' ' | sha256sum | cut -c1-64)
    [ -e "$work/texts/$sum" ] || tr -d '\r' <"$file" >"$work/texts/$sum"
    echo "$crate ($license)${repository:+ $repository}" >>"$work/texts/$sum.crates"
  done < <(find "$folder" -maxdepth 1 -type f | grep -iE '/(licen[cs]e|copying|copyright|notice|unlicense)[^/]*$' | grep -vE '\.(rs|toml)$' | sort)
  [ -n "$found" ] || echo "$crate ($license)${repository:+ $repository}" >>"$work/bare"
done <"$work/linked"
line=$(printf '=%.0s' {1..80})
mkdir -p "$(dirname "$into")"
{
  echo "The programs of the Gas Town operator contain the crates below: under each text, those that bring it. Where a crate's"
  echo "licence is a choice, it is used under those of the choice that are permissive."
  if [ -e "$work/bare" ]; then
    printf '\n%s\nThese bring no text; their licence is the one that they name.\n\n' "$line"
    sed 's/^/ * /' "$work/bare"
  fi
  for crates in $(grep -c '' "$work"/texts/*.crates | sort -t: -k2,2nr -k1,1 | cut -d: -f1); do
    printf '\n%s\n' "$line"
    sort -u "$crates" | sed 's/^/ * /'
    echo
    sed 's/[ \t]*$//' "${crates%.crates}"
  done
} >"$into"
echo "notices: $into names $(grep -c '' "$work/linked") crates"
