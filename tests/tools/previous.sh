#!/usr/bin/env bash
# previous.sh COMMIT: prints the folder of an older version of ours, with its sources and, in built/, operator and runner; made
# once, in minutes, and cached. Debug builds: nothing of them is measured.
set -euo pipefail
cd "$(dirname "$0")/../.."
commit=$(git rev-parse --verify --quiet "$1^{commit}") || { echo "previous: there is no commit $1; fetch the history" >&2; exit 1; }
[ "$commit" != "$(git rev-parse HEAD)" ] || {
  echo "previous: $1 is what is checked out, and an upgrade from itself shows nothing; name an older one" >&2
  exit 1
}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/gastown-testbed
folder=$cache/previous-${commit:0:12}
if [ ! -x "$folder/built/gt-runner" ]; then
  echo "previous: building $(git log -1 --format='%h of %cs' "$commit") (minutes)" >&2
  rm -rf "$folder"
  mkdir -p "$folder/built"
  git archive "$commit" | tar -x -C "$folder"
  export CARGO_TARGET_DIR=$cache/previous-target
  cargo=${CARGO:-cargo}
  (cd "$folder" && $cargo build --quiet --locked --bin gastown-operator >&2 &&
    $cargo rustc --quiet --locked --bin gt-runner -- -C target-feature=+crt-static >&2)
  strip -o "$folder/built/gastown-operator" "$CARGO_TARGET_DIR/debug/gastown-operator"
  strip -o "$folder/built/gt-runner.new" "$CARGO_TARGET_DIR/debug/gt-runner"
  mv "$folder/built/gt-runner.new" "$folder/built/gt-runner"
fi
echo "$folder"
