#!/usr/bin/env bash
# Licences, sources and bans of the dependencies; advisories where a copy of their database is given (ADVISORY_DB=path). The
# cargo-deny of this machine where it is of this version, else one in target/tools; with --cached it prints which, and nothing
# where that was not built yet.
set -eu
cd "$(dirname "$0")/../.."
version=0.20.2
of_version() { [ "$("$1" --version 2>/dev/null)" = "cargo-deny $version" ]; }
deny=$(command -v cargo-deny || true)
of_version "$deny" || deny=$PWD/target/tools/bin/cargo-deny
if [ "${1:-}" = --cached ]; then
  ! of_version "$deny" || echo "$deny"
  exit 0
fi
if ! of_version "$deny"; then
  echo "deny: building cargo-deny $version in target/tools (about two minutes)"
  CARGO_TARGET_DIR=target/tools/build CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
    CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 cargo install --quiet --locked --root target/tools "cargo-deny@$version"
  rm -rf target/tools/build
fi
cargo fetch --quiet --locked
"$deny" --config .deny.toml --offline --locked check --hide-inclusion-graph licenses bans sources
"$deny" --config .deny.toml --offline --locked --features fips check --hide-inclusion-graph licenses bans sources
if [ -n "${ADVISORY_DB:-}" ]; then
  if ! git -C "$ADVISORY_DB" rev-parse --quiet --verify HEAD >/dev/null 2>&1; then
    echo "deny: ADVISORY_DB=$ADVISORY_DB is no clone of an advisory database: it has no commit" >&2
    exit 1
  fi
  # Where cargo-deny looks for the database of https://github.com/rustsec/advisory-db below `db-path`.
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  mkdir "$scratch/db"
  ln -s "$(realpath "$ADVISORY_DB")" "$scratch/db/advisory-db-3157b0e258782691"
  { cat .deny.toml; printf '\n[advisories]\ndb-path = "%s"\n' "$scratch/db"; } > "$scratch/deny.toml"
  "$deny" --config "$scratch/deny.toml" --offline --locked check advisories
  # What the Enterprise edition alone links in.
  "$deny" --config "$scratch/deny.toml" --offline --locked --features fips check advisories
else
  case ",${GASTOWN_REQUIRE:-}," in
    *,advisories,*) echo "deny: GASTOWN_REQUIRE wants the advisories: set ADVISORY_DB=path" >&2; exit 1 ;;
  esac
  echo "SKIP advisories: no copy of the advisory database (ADVISORY_DB=path)"
fi
