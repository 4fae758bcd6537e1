#!/usr/bin/env bash
# Looks at the images of an edition as certification does, and at what the programs in them need: scan.sh, with EDITION, IMG
# and BUILDAH as for build.sh. Images that are not here are pulled.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
edition=${EDITION:-community}
read -ra buildah <<<"${BUILDAH:-buildah}"
flaws=()
flaw() { flaws+=("$1"); }

for target in operator runner agent; do
  image=$(TARGETS=$target deploy/images/build.sh names)
  "${buildah[@]}" inspect --type image "$image" >/dev/null 2>&1 || "${buildah[@]}" pull --quiet "docker://$image" >/dev/null
  config=$("${buildah[@]}" inspect --type image "$image")
  user=$(jq -r '.OCIv1.config.User // ""' <<<"$config")
  [[ $user =~ ^[1-9][0-9]*(:[0-9]+)?$ ]] || flaw "$image: USER is '$user', and must be a number that is not root's"
  layers=$(jq '.OCIv1.rootfs.diff_ids | length' <<<"$config")
  [ "$layers" -le 40 ] || flaw "$image: $layers layers; 40 are accepted"
  [ "${image##*:}" != latest ] || flaw "$image: latest is no version"
  if [ "$edition" = enterprise ]; then
    for label in name vendor version release summary description maintainer; do
      value=$(jq -r --arg label "$label" '.OCIv1.config.Labels[$label] // ""' <<<"$config")
      [ -n "$value" ] || flaw "$image: no label $label"
    done
    for label in name vendor maintainer; do
      jq -r --arg label "$label" '.OCIv1.config.Labels[$label] // ""' <<<"$config" | grep -iqE 'red[ -]?hat' &&
        flaw "$image: label $label has a trademark of others"
    done
  fi
  container=$("${buildah[@]}" from --pull-never "$image")
  root=$("${buildah[@]}" mount "$container")
  [ -n "$(find "$root/licenses" -type f -size +0 2>/dev/null)" ] || flaw "$image: nothing in /licenses"
  for program in "$root"/usr/local/bin/{gastown-operator,gt-runner} "$root/usr/bin/gather"; do
    [ -e "$program" ] && [ "$edition" = enterprise ] || continue
    tests/tools/glibc.sh "$program" 2.34 || flaw "$image: ${program#"$root"} asks for a newer glibc than UBI 9 has"
  done
  "${buildah[@]}" rm "$container" >/dev/null
  echo "scan: looked at $image"
done
[ ${#flaws[@]} -eq 0 ] || { printf 'scan: %s\n' "${flaws[@]}" >&2; exit 1; }
