#!/usr/bin/env bash
# bundle-check.sh [--build] [FOLDER…]: holds both OLM bundles, or those in these folders, to the rules of operator-sdk,
# operator-verify and opm; an error, or a warning that is not explained below, fails it. With --build they are built where they are
# missing; without, one that is missing is skipped by name, or fails where GASTOWN_REQUIRE has it. Each tool is also shown a broken
# bundle: one that takes it holds nothing.
set -uo pipefail
cd "$(dirname "$0")/../.."
build=--if-built
[ "${1:-}" != --build ] || { build=$1; shift; }
bundles=("$@")
[ $# -gt 0 ] || bundles=(bundle/community bundle/enterprise)
failed=
fail() { echo "bundle-check: $*" >&2; failed=yes; }
# Warnings that stay, each with its reason; one that is no longer said fails it, too.
declare -A explained=(
  ["CSV contains permissions to create CRD"]="the rule takes patch for create and reads no resourceNames: the right is to patch the \
definitions of this bundle by name, which lose their conversion when OLM deletes a CSV, and get it back (docs/versions.md)"
)
declare -A heard=()
# What a tool said of a bundle, without what is explained.
unexplained() {
  local said=$1 it
  for it in "${!explained[@]}"; do said=$(grep -vF -- "$it" <<<"$said"); done
  echo "$said"
}
hear() { local it; for it in "${!explained[@]}"; do if grep -qF -- "$it" <<<"$1"; then heard[$it]=yes; fi; done; }
# What a tool said of a bundle, unless it is good.
good() { [ "$1" = 0 ] && ! grep -qiE 'level=(error|warning)|Error: ' <<<"$(unexplained "$2")"; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

validate() { # operator-sdk FOLDER
  local of_kubernetes
  of_kubernetes=$(sed -n 's/^  minKubeVersion: \(1\.[0-9]*\).*/\1/p' "$2"/manifests/*.clusterserviceversion.yaml)
  "$1" bundle validate "$2" 2>&1 &&
    "$1" bundle validate "$2" --select-optional suite=operatorframework --optional-values=k8s-version="$of_kubernetes" 2>&1 &&
    # The newest that is tried: what it no longer serves is an error.
    "$1" bundle validate "$2" --select-optional suite=operatorframework --optional-values=k8s-version=1.36 2>&1
}
verify() { "$1" manifests --object_validate "$2/manifests" 2>&1; } # operator-verify FOLDER; it ends with 0 whatever it finds
catalog() { # opm FOLDER: a catalog with the one bundle
  local into=$work/catalog
  rm -rf "$into" && mkdir -p "$into/gastown-operator"
  # A bundle that is rendered from a folder has no image yet.
  "$1" render "$2" --output=yaml >"$into/rendered.yaml" || return
  { grep -v '^image:' "$into/rendered.yaml"; echo "image: gastown-operator-bundle:check"; } >"$into/gastown-operator/bundle.yaml"
  printf -- '---\nschema: olm.package\nname: gastown-operator\ndefaultChannel: alpha\n---\nschema: olm.channel\npackage: gastown-operator\nname: alpha\nentries:\n- name: %s\n' \
    "$(sed -n 's/^  name: \(gastown-operator\.v.*\)/\1/p' "$2/manifests/gastown-operator.clusterserviceversion.yaml")" \
    >"$into/gastown-operator/catalog.yaml"
  "$1" validate "$into/gastown-operator" 2>&1
}
broken() { # SED-EXPRESSION FILE: a bundle with one fault
  rm -rf "$work/broken" && cp -r bundle/community "$work/broken"
  sed -i "$1" "$work/broken/$2"
  ! diff -rq bundle/community "$work/broken" >/dev/null || fail "nothing was broken by $1"
}

for tool in operator-sdk operator-verify opm; do
  program=$(command -v "$tool" || tests/tools/go-tool.sh "$tool" "$build") || { fail "$tool cannot be built"; continue; }
  if [ -z "$program" ]; then
    case ",${GASTOWN_REQUIRE:-}," in
      *,"$tool",*) fail "GASTOWN_REQUIRE wants $tool, and it is not here: make test-bundle" ;;
      *) echo "SKIP bundle-check-$tool: no $tool" ;;
    esac
    continue
  fi
  csv=manifests/gastown-operator.clusterserviceversion.yaml
  case $tool in
    operator-sdk) check=validate; broken 's/^  minKubeVersion: .*/  minKubeVersion: soon/' $csv ;;
    operator-verify) check=verify; broken 's/maxUnavailable: 1/maxUnavailable: 0/' manifests/gastown-operator.poddisruptionbudget.yaml ;;
    opm) check=catalog; broken 's/^  version: .*/  version: one/' $csv ;;
  esac
  for bundle in "${bundles[@]}"; do
    said=$($check "$program" "$bundle")
    code=$?
    hear "$said"
    if good $code "$said"; then echo "$tool: $bundle is good"; else echo "$said"; fail "$tool: $bundle"; fi
  done
  said=$($check "$program" "$work/broken" 2>&1)
  if good $? "$said"; then fail "$tool takes a broken bundle"; fi
  [ "$tool" = operator-sdk ] || continue
  for it in "${!explained[@]}"; do
    if [ -n "${heard[$it]:-}" ]; then echo "explained: $it: ${explained[$it]}"; else fail "explained, but not said any more: $it"; fi
  done
done
[ -z "$failed" ]
