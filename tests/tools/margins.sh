#!/usr/bin/env bash
# margins.sh LOG: how close tests of faults came to two owners, each by its line "MARGIN name: ...", and the smallest of all.
set -u
# With one test at a time its name comes first, on the same line.
lines=$(grep -oE '(^|^test [^ ]+ \.\.\. )MARGIN [^:]+: .*' "$1" | sed 's/^.*MARGIN //' || true)
[ -n "$lines" ] || exit 0
echo "margins between two owners of a shard:"
printf '%s\n' "$lines" | sed 's/^/  /'
smallest=$(printf '%s\n' "$lines" | sed -nE 's/^([^:]+): (-?[0-9.]+) s, .*/\2 s (\1)/p' | sort -n | head -1)
echo "smallest margin: ${smallest:-none, no owner changed under load}"
