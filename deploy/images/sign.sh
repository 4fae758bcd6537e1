#!/usr/bin/env bash
# Signs what a release of an edition consists of, or verifies it, by a key and without a public log: sign.sh sign | verify.
#
#   EDITION       community or enterprise
#   COSIGN_KEY    sign: the private key, a file or what cosign knows of key services; its password in COSIGN_PASSWORD
#   COSIGN_PUB    verify: the public key
#   COSIGN        cosign; without it the one that tests/tools/cosign pins
#   COSIGN_FLAGS  for calls that reach the registry, such as --registry-cacert=FILE
#   RELEASE       the folder of the release (target/dist)
#
# `make docker-push` notes in pushed-EDITION.txt which images went out, by digest; these are signed, and the bill of materials is
# attested to those with programs of ours. SHA256SUMS-EDITION names every file, and is signed: one key vouches for all.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
fail() { echo "release: $*" >&2; exit 1; }

edition=${EDITION:-community}
case $edition in
  community) other=enterprise ;;
  enterprise) other=community ;;
  *) fail "EDITION=$edition is no edition; write community or enterprise" ;;
esac
release=${RELEASE:-target/dist}
pushed=pushed-$edition.txt
sums=SHA256SUMS-$edition
bill=sbom-$edition.spdx.json
read -ra flags <<<"${COSIGN_FLAGS:-}"
command -v jq >/dev/null || fail "there is no jq; install it"
cosign=${COSIGN:-$(tests/tools/go-tool.sh cosign)}
command -v "$cosign" >/dev/null || fail "there is no program $cosign; without COSIGN the pinned one is built"
# One file has the credentials for all programs; cosign looks for it under a name of its own.
if [ -n "${REGISTRY_AUTH_FILE:-}" ] && [ -z "${DOCKER_CONFIG:-}" ]; then
  DOCKER_CONFIG=$(mktemp -d)
  export DOCKER_CONFIG
  trap 'rm -rf "$DOCKER_CONFIG"' EXIT
  ln -s "$(realpath "$REGISTRY_AUTH_FILE")" "$DOCKER_CONFIG/config.json"
fi

# Names with tag and digest, and what they are.
images() {
  local image what
  [ -s "$release/$pushed" ] || fail "$release/$pushed is not there: make docker-push writes it"
  while read -r image what; do
    [[ $image =~ ^[^@]+:[^@/]+@sha256:[0-9a-f]{64}$ ]] || fail "$release/$pushed: '$image' is not named by tag and digest"
    echo "$image $what"
  done <"$release/$pushed"
}
has_programs() { [ "$1" = operator ] || [ "$1" = runner ]; }
# What belongs to this edition, the sums alone excepted: files at the top, its bundle, its catalog, and its lists for mirrors.
files() {
  (
    cd "$release"
    {
      find . -maxdepth 1 -type f ! -name 'SHA256SUMS-*' ! -name "*-$other.*"
      for it in "bundle/$edition" "catalog/$edition/configs"; do [ ! -d "$it" ] || find "./$it" -type f; done
      [ ! -d deploy/mirror ] || find ./deploy/mirror -type f -name "*-$edition.*"
    } | LC_ALL=C sort
  )
}

sign() {
  local all image what
  [ -n "${COSIGN_KEY:-}" ] || fail "name the private key: COSIGN_KEY=file"
  [ -s "$release/$bill" ] || fail "$release/$bill is not there: make sbom writes it"
  all=$(images)
  while read -r image what <&3; do
    "$cosign" sign --yes --recursive --key "$COSIGN_KEY" --tlog-upload=false ${flags[@]+"${flags[@]}"} "$image"
    has_programs "$what" || continue
    "$cosign" attest --yes --replace --key "$COSIGN_KEY" --tlog-upload=false --type spdxjson --predicate "$release/$bill" \
      ${flags[@]+"${flags[@]}"} "$image"
  done 3<<<"$all"
  (cd "$release" && xargs -d '\n' sha256sum) < <(files) >"$release/$sums"
  "$cosign" sign-blob --yes --key "$COSIGN_KEY" --tlog-upload=false --output-signature "$release/$sums.sig" "$release/$sums" >/dev/null
  echo "release: signed $(wc -l <<<"$all") images and $(wc -l <"$release/$sums") files"
}

verify() {
  local all image what digest found
  [ -n "${COSIGN_PUB:-}" ] || fail "name the public key: COSIGN_PUB=file"
  # The log that is not asked is the public one: the key alone vouches.
  local by=(--key "$COSIGN_PUB" --insecure-ignore-tlog=true)
  [ -s "$release/$sums.sig" ] || fail "$release/$sums.sig is not there: make sign writes it"
  "$cosign" verify-blob "${by[@]}" --signature "$release/$sums.sig" "$release/$sums" || fail "$sums is not signed by that key"
  (cd "$release" && sha256sum --check --strict --quiet "$sums") || fail "a file is not what was signed"
  [ "$(files)" = "$(cut -c67- "$release/$sums")" ] || fail "$release holds files that were not signed, such as those of a later build"
  all=$(images)
  while read -r image what <&3; do
    digest=${image##*@}
    # By the tag, which is what people pull: what it leads to by now has to be what was pushed.
    found=$("$cosign" verify "${by[@]}" --output=json ${flags[@]+"${flags[@]}"} "${image%@*}" |
      jq -r '[.[].critical.image["docker-manifest-digest"]] | unique | join(" ")') || fail "${image%@*} is not signed by that key"
    [ "$found" = "$digest" ] || fail "${image%@*} is $found by now, and not $digest"
    if has_programs "$what"; then
      "$cosign" verify-attestation "${by[@]}" --type spdxjson ${flags[@]+"${flags[@]}"} "$image" |
        jq -e --slurpfile bill "$release/$bill" '.payload | @base64d | fromjson | .predicate == $bill[0]' >/dev/null ||
        fail "$image has no bill of materials, or not $bill"
    fi
    echo "release: $image is signed"
  done 3<<<"$all"
}

case ${1:-} in
  sign) sign ;;
  verify) verify ;;
  *) fail "say sign or verify" ;;
esac
