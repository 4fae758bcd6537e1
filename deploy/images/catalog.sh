#!/usr/bin/env bash
# Makes the catalog of one edition, with every release that its template names, and its image: catalog.sh build | push.
#
#   EDITION      community or enterprise
#   BUNDLE_IMG   this release's bundle, in a registry; those of earlier ones are beside it, by their versions
#   CATALOG_IMG  the catalog's own image (gastown-operator-catalog:vVERSION-EDITION beside the bundle)
#   PUSHED       yes: this release's bundle by the digest that was pushed
#   OPM          opm; without it the one that tests/tools/opm pins. OPM_FLAGS: for calls that reach the registry
#   BUILDAH      buildah, with its flags
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
fail() { echo "catalog: $*" >&2; exit 1; }
edition=${EDITION:-community}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
own=gastown-operator-bundle:v$version-$edition
bundle=${BUNDLE_IMG:-}
[ -n "$bundle" ] && [ "${bundle%/*}" != "$bundle" ] ||
  fail "opm reads bundles where they were pushed to; say BUNDLE_IMG=registry.example.com/town/$own"
beside=${bundle%/*}
image=${CATALOG_IMG:-$beside/gastown-operator-catalog:v$version-$edition}

build() {
  local opm into=${RELEASE:-target/dist}/catalog/$edition template=deploy/catalog/$edition.yaml
  read -ra flags <<<"${OPM_FLAGS:-}"
  [ "${PUSHED:-}" != yes ] || bundle=$(deploy/images/build.sh pushed bundle)
  opm=${OPM:-$(tests/tools/go-tool.sh opm)}
  rm -rf "${into:?}"
  mkdir -p "$into/configs/gastown-operator"
  sed -e "s|^- image: $own\$|- image: $bundle|" -e "s|^- image: gastown-operator-bundle:|- image: $beside/gastown-operator-bundle:|" \
    "$template" >"$into/template.yaml"
  grep -qF -- "- image: $bundle" "$into/template.yaml" || fail "$template does not name $own"
  # OpenShift refuses the older form from 4.17 on, and bundles ask for a later one than that.
  "$opm" alpha render-template basic ${flags[@]+"${flags[@]}"} --migrate-level=bundle-object-to-csv-metadata --output=yaml \
    "$into/template.yaml" >"$into/configs/gastown-operator/catalog.yaml"
  "$opm" validate "$into/configs"
  chmod -R u=rwX,go=rX "$into/configs"
  "$opm" serve "$into/configs" --cache-dir="$into/cache" --cache-only
  # Whoever serves it, of group 0, locks it.
  chmod -R u=rwX,g=rwX,o=rX "$into/cache"
  deploy/images/build.sh catalog "$image" "$into"
}

case ${1:-} in
  build) build ;;
  push) deploy/images/build.sh send "$image" catalog ;;
  *) fail "say build or push" ;;
esac
