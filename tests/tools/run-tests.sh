#!/usr/bin/env bash
# Runs every test and ends with what was skipped, by reason. A skip is a line "SKIP name: reason" on standard error.
set -u
cd "$(dirname "$0")/../.."
log=target/test.log
mkdir -p target
# As many tests at a time as there are processors: each has an operator of its own.
cargo test --locked --workspace --lib --bins --tests --no-fail-fast -- "$@" 2>&1 | tee "$log"
code=${PIPESTATUS[0]}
skips=$(grep -c '^SKIP ' "$log")
echo
grep "^test result" "$log"
echo "skipped: $skips"
grep '^SKIP ' "$log" | sed 's/^SKIP [^:]*: //' | sort | uniq -c
exit "$code"
