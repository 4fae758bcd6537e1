#!/usr/bin/env bash
# Licences, sources and bans of the dependencies; advisories where a copy of their database is given (ADVISORY_DB=path).
set -eu
cd "$(dirname "$0")/../.."
version=0.20.2
if ! cargo deny --version 2>/dev/null | grep -q "$version"; then
  echo "deny: building cargo-deny $version (about two minutes)"
  CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    cargo install --quiet --locked "cargo-deny@$version"
fi
cargo fetch --quiet --locked
cargo deny --config .deny.toml --offline --locked check --hide-inclusion-graph licenses bans sources
cargo deny --config .deny.toml --offline --locked --features fips check --hide-inclusion-graph licenses bans sources
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
  cargo deny --config "$scratch/deny.toml" --offline --locked check advisories
else
  case ",${GASTOWN_REQUIRE:-}," in
    *,advisories,*) echo "deny: GASTOWN_REQUIRE wants the advisories: set ADVISORY_DB=path" >&2; exit 1 ;;
  esac
  echo "SKIP advisories: no copy of the advisory database (ADVISORY_DB=path)"
fi
