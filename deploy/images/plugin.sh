#!/usr/bin/env bash
# Packs kubectl-gt as people install it, for Linux: target/dist/kubectl-gt-VERSION-linux-ARCHITECTURE-EDITION.tar.gz. It is the very
# program that the runner's image has for `oc adm must-gather`, so it runs where that image's base does, and nothing is built anew.
#
#   EDITION, IMG, RUNNER_IMG, PLATFORMS, BUILDAH   as for build.sh; images that are not here are pulled
#   PUSHED      yes: of the runner's image by the digest that was pushed
#   PLUGIN_URL  where these files will be; with it, krew-EDITION.yaml is written, by which `kubectl krew install` takes them
#   PROJECT_URL where people read the sources and tell of faults: the `homepage` in there, which is left out otherwise
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
edition=${EDITION:-community}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
into=${RELEASE:-target/dist}
read -ra buildah <<<"${BUILDAH:-buildah}"
platforms=$(deploy/images/build.sh platforms)
if [ "${PUSHED:-}" = yes ]; then image=$(deploy/images/build.sh pushed runner); else image=$(TARGETS=runner deploy/images/build.sh names); fi
made=$(deploy/images/build.sh moment)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
krew=
for platform in ${platforms//,/ }; do
  architecture=${platform#linux/}
  folder=$work/$architecture
  file=kubectl-gt-$version-linux-$architecture-$edition.tar.gz
  container=$("${buildah[@]}" from --quiet --platform "$platform" "$image")
  root=$("${buildah[@]}" mount "$container")
  mkdir -p "$folder" "$into"
  cp "$root/usr/bin/gather" "$folder/kubectl-gt"
  cp "$root"/licenses/* "$folder/"
  "${buildah[@]}" rm "$container" >/dev/null
  chmod 755 "$folder/kubectl-gt"
  # The same image makes the same file.
  tar --sort=name --mtime="@$made" --owner=0 --group=0 --numeric-owner -C "$folder" -cf - . | gzip -n -9 >"$into/$file"
  sum=$(sha256sum "$into/$file" | cut -d' ' -f1)
  krew+="  - selector: {matchLabels: {os: linux, arch: $architecture}}
    uri: ${PLUGIN_URL:-}/$file
    sha256: $sum
    bin: kubectl-gt
"
  echo "plugin: $into/$file"
done
rm -f "$into/krew-$edition.yaml"
[ -n "${PLUGIN_URL:-}" ] || exit 0
homepage=
[ -z "${PROJECT_URL:-}" ] || homepage="
  homepage: '$PROJECT_URL'"
cat >"$into/krew-$edition.yaml" <<EOF
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: gt
spec:
  version: v$version$homepage
  shortDescription: Starts, watches and checks Gas Town's workers
  description: |
    Talks to the Gas Town operator: starts Polecats and follows them, shows who owns what, shows a run as a trace, checks a cluster
    before and after an installation (kubectl gt doctor), and packs a report with secrets taken out.
  platforms:
$krew
EOF
sed -i '${/^$/d}' "$into/krew-$edition.yaml"
echo "plugin: $into/krew-$edition.yaml"
