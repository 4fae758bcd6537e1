#!/usr/bin/env bash
# Runs every checker of OLM bundles that is here over both; one that is missing is skipped by name, or fails where
# GASTOWN_REQUIRE has it.
set -uo pipefail
cd "$(dirname "$0")/../.."
failed=
skip() {
  case ",${GASTOWN_REQUIRE:-}," in
    *,"$1",*) echo "bundle-check: GASTOWN_REQUIRE wants $1, and it is not here" >&2; failed=yes ;;
    *) echo "SKIP bundle-check-$1: no $1" ;;
  esac
}
for edition in community enterprise; do
  bundle=bundle/$edition
  if command -v operator-sdk >/dev/null; then
    operator-sdk bundle validate "$bundle" || failed=yes
    operator-sdk bundle validate "$bundle" --select-optional suite=operatorframework --optional-values=k8s-version=1.31 || failed=yes
  fi
  if command -v operator-verify >/dev/null; then
    # It ends with 0 whatever it finds.
    said=$(operator-verify manifests --object_validate "$bundle/manifests" 2>&1)
    echo "$said"
    ! grep -qiE '^ *Error:|level=error|level=warning' <<<"$said" || failed=yes
  fi
  if command -v opm >/dev/null; then
    catalog=$(mktemp -d)
    mkdir "$catalog/gastown-operator"
    opm render "$bundle" --output=yaml >"$catalog/bundle.yaml" &&
      # A bundle that is rendered from a folder has no image yet.
      { grep -v '^image:' "$catalog/bundle.yaml"; echo "image: gastown-operator-bundle:check"; } >"$catalog/gastown-operator/bundle.yaml" &&
      printf -- '---\nschema: olm.package\nname: gastown-operator\ndefaultChannel: alpha\n---\nschema: olm.channel\npackage: gastown-operator\nname: alpha\nentries:\n- name: %s\n' \
        "$(sed -n 's/^  name: \(gastown-operator\.v.*\)/\1/p' "$bundle/manifests/gastown-operator.clusterserviceversion.yaml")" \
        >"$catalog/gastown-operator/catalog.yaml" &&
      opm validate "$catalog/gastown-operator" || failed=yes
    rm -rf "$catalog"
  fi
done
for tool in operator-sdk operator-verify opm; do command -v "$tool" >/dev/null || skip "$tool"; done
[ -z "$failed" ]
