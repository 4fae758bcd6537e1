#!/usr/bin/env bash
# Says which version of glibc a program needs, and fails if that is newer than the one given: glibc.sh PROGRAM 2.34. With
# `static` instead of a version it fails if the program needs any library.
set -euo pipefail
program=$1 most=$2
command -v readelf >/dev/null || { echo "glibc: there is no readelf; install binutils" >&2; exit 2; }
header=$(readelf --program-headers --wide "$program")
if ! grep -q INTERP <<<"$header"; then
  echo "glibc: $program is static"
  [ "$most" = static ] || { echo "glibc: $program must be linked dynamically" >&2; exit 1; }
  exit 0
fi
[ "$most" != static ] || { echo "glibc: $program is linked dynamically, and must not be" >&2; exit 1; }
versions=$(readelf --version-info --wide "$program" | grep -oE 'GLIBC_[0-9]+(\.[0-9]+)+' | sort -uV)
newest=$(tail -1 <<<"$versions")
[ -n "$newest" ] || { echo "glibc: $program names no version of glibc" >&2; exit 1; }
echo "glibc: $program needs ${newest/_/ } at the least"
above=$(printf 'GLIBC_%s\n%s\n' "$most" "$versions" | sort -uV | sed "0,/^GLIBC_${most//./\\.}\$/d")
[ -z "$above" ] || {
  echo "glibc: newer than $most in $program:" >&2
  readelf --dyn-syms --wide "$program" | grep -F "${above%%$'\n'*}" | awk '{print "  " $8}' | sort -u | head -20 >&2
  exit 1
}
