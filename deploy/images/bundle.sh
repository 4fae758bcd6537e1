#!/usr/bin/env bash
# Makes the OLM bundle of one edition with the images that are asked for, and its image: bundle.sh build | push.
#
#   EDITION     community or enterprise
#   IMG, RUNNER_IMG, AGENT_IMG   the images in it, for a release by digest (as build.sh names them)
#   PUSHED      yes: these by the digests that were pushed (the agent's is named, since none is shipped)
#   BUNDLE_IMG  the bundle's own image (gastown-operator-bundle:vVERSION-EDITION)
#   CATALOG_IMG the catalog's, which the lists for mirrors name with the bundle's (beside the bundle, as catalog.sh has it)
#   PROJECT_URL where people read the sources and tell of faults: the annotation `repository`, which is left out otherwise
#   BUILDAH     buildah, with its flags; "none" makes the folder alone
#   RELEASE     the folder that it is made in (target/dist)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
edition=${EDITION:-community}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
image=${BUNDLE_IMG:-gastown-operator-bundle:v$version-$edition}
read -ra buildah <<<"${BUILDAH:-buildah}"
into=${RELEASE:-target/dist}
name() {
  if [ "${PUSHED:-}" = yes ]; then deploy/images/build.sh pushed "$1"; else TARGETS=$1 deploy/images/build.sh names; fi
}
case ${1:-} in
  build)
    rm -rf "${into:?}/bundle/$edition"
    operator=$(name operator)
    runner=$(name runner)
    arguments=(--into "$into" --bundle "$edition" --operator-image "$operator" --runner-image "$runner")
    [ -z "${PROJECT_URL:-}" ] || arguments+=(--project-url "$PROJECT_URL")
    [ -z "${AGENT_IMG:-}" ] || arguments+=(--agent-image "$AGENT_IMG")
    catalog=${CATALOG_IMG:-}
    [ -n "$catalog" ] || [ "${image%/*}" = "$image" ] || catalog=${image%/*}/gastown-operator-catalog:v$version-$edition
    arguments+=(--bundle-image "$image" --catalog-image "$catalog")
    ${CARGO:-cargo} run --quiet --locked --bin manifests -- "${arguments[@]}"
    [ "${buildah[0]}" != none ] || exit 0
    container=$("${buildah[@]}" from scratch)
    for part in manifests metadata tests; do
      "${buildah[@]}" copy --quiet "$container" "$into/bundle/$edition/$part" "/$part" >/dev/null
    done
    # The annotations once more, as labels, which is where catalogs look first.
    while IFS=: read -r key value; do
      value=${value# }
      "${buildah[@]}" config --label "${key// /}=${value//\"/}" "$container"
    done < <(grep -E '^  (com\.redhat|operators\.operatorframework)' "$into/bundle/$edition/metadata/annotations.yaml")
    made=$(deploy/images/build.sh moment)
    "${buildah[@]}" commit --quiet --timestamp "$made" "$container" "$image"
    "${buildah[@]}" rm "$container" >/dev/null
    echo "bundle: $image"
    ;;
  push) PLATFORMS=one deploy/images/build.sh send "$image" bundle ;;
  *) echo "bundle: say build or push" >&2; exit 2 ;;
esac
