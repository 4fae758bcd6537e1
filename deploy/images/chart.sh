#!/usr/bin/env bash
# Packages the Helm chart into target/dist, and pushes it where OCI says: the same commit makes the same file, so whoever packages it
# again pushes nothing else.
#
#   IMG   the operator's image: its registry and path become the chart's default for `global.imageRegistry`, and stand before the
#         images that it is annotated with
#   PROJECT_URL  where people read the sources and tell of faults: the chart's `home`, which is left out otherwise
#   OCI   oci://registry.example.com/charts: pushed there, and noted for who signs. OCI_FLAGS: for calls that reach the registry
#   HELM  helm; without it the one on the path, or else the one that tests/tools/helm pins
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
fail() { echo "chart: $*" >&2; exit 1; }
helm=${HELM:-$(command -v helm || tests/tools/go-tool.sh helm)}
edition=${EDITION:-community}
into=${RELEASE:-target/dist}
made=$(deploy/images/build.sh moment)
image=${IMG:-}
registry=${image%/*}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp -r charts/gastown-operator "$work/chart"
if [ "$registry" != "$image" ]; then
  sed -i "s|^  imageRegistry: .*|  imageRegistry: '$registry'|" "$work/chart/values.yaml"
  grep -qF "imageRegistry: '$registry'" "$work/chart/values.yaml" || fail "values.yaml has no global.imageRegistry"
  # What is scanned and mirrored by the chart's annotation has it as well.
  sed -i "s|^    - image: gastown-|    - image: $registry/gastown-|" "$work/chart/Chart.yaml"
  grep -qF "image: $registry/gastown-operator:" "$work/chart/Chart.yaml" || fail "Chart.yaml names no images"
fi
[ -z "${PROJECT_URL:-}" ] || echo "home: '$PROJECT_URL'" >>"$work/chart/Chart.yaml"
"$helm" package "$work/chart" --destination "$work" >/dev/null
packed=$(basename "$work"/gastown-operator-*.tgz)
# Once more, without the moment in which that was done.
mkdir -p "$work/packed" "$into"
tar -C "$work/packed" -xzmf "$work/$packed"
tar --sort=name --mtime="@$made" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX -C "$work/packed" -cf - gastown-operator |
  gzip -n -9 >"$into/$packed"
touch -d "@$made" "$into/$packed"
echo "chart: $into/$packed"
[ -n "${OCI:-}" ] || exit 0
# One file has the credentials for all programs, where helm has none of its own.
[ -z "${REGISTRY_AUTH_FILE:-}" ] || export HELM_REGISTRY_CONFIG="${HELM_REGISTRY_CONFIG:-$REGISTRY_AUTH_FILE}"
read -ra flags <<<"${OCI_FLAGS:-}"
said=$("$helm" push ${flags[@]+"${flags[@]}"} "$into/$packed" "$OCI" 2>&1) || fail "$said"
digest=$(sed -n 's/^Digest: *\(sha256:[0-9a-f]*\)$/\1/p' <<<"$said")
[ -n "$digest" ] || fail "helm did not say which digest it pushed: $said"
version=${packed#gastown-operator-}
EDITION=$edition deploy/images/build.sh note "${OCI#oci://}/gastown-operator:${version%.tgz}" "$digest" chart
echo "chart: pushed ${OCI#oci://}/gastown-operator:${version%.tgz}"
