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
if [ -n "${ADVISORY_DB:-}" ]; then
  cargo deny --config .deny.toml --offline --locked check --disable-fetch advisories
else
  case ",${GASTOWN_REQUIRE:-}," in
    *,advisories,*) echo "deny: GASTOWN_REQUIRE wants the advisories: set ADVISORY_DB=path" >&2; exit 1 ;;
  esac
  echo "SKIP advisories: no copy of the advisory database (ADVISORY_DB=path)"
fi
