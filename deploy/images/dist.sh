#!/usr/bin/env bash
# Builds what goes into the images of one edition: EDITION=community|enterprise DIST=FOLDER dist.sh. Programs are built for
# this machine's architecture; nothing in them names a folder of it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
edition=${EDITION:-community}
cargo=${CARGO:-cargo}
case $edition in
  community) features=() ;;
  enterprise) features=(--features fips) ;;
  *) echo "dist: EDITION=$edition is no edition; write community or enterprise" >&2; exit 2 ;;
esac
architecture=$(case $(uname -m) in (x86_64) echo amd64 ;; (aarch64) echo arm64 ;; (*) uname -m ;; esac)
into=${DIST:-target/dist/$edition/$architecture}
home=${CARGO_HOME:-$HOME/.cargo}
# A folder of its own: other flags make other builds.
export CARGO_TARGET_DIR=target/dist/build-$edition
export RUSTFLAGS="--remap-path-prefix=$PWD=/src --remap-path-prefix=$home=/cargo ${RUSTFLAGS:-}"
$cargo build --locked --release --bin gastown-operator --bin kubectl-gt ${features[@]+"${features[@]}"}
if [ "$edition" = community ]; then
  # It runs in any agent's image.
  $cargo rustc --locked --release --bin gt-runner -- -C target-feature=+crt-static
else
  $cargo build --locked --release --bin gt-runner ${features[@]+"${features[@]}"}
  for it in gastown-operator gt-runner kubectl-gt; do tests/tools/glibc.sh "$CARGO_TARGET_DIR/release/$it" 2.34; done
fi
mkdir -p "$into/licenses"
cp "$CARGO_TARGET_DIR"/release/{gastown-operator,gt-runner,kubectl-gt} "$into/"
cp LICENSE "$into/licenses/"
tests/tools/notices.sh "$into/licenses/THIRD-PARTY-NOTICES"
echo "dist: $into"
