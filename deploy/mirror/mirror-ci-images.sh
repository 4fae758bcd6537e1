#!/usr/bin/env bash
# Copies every image of ci-images.lock to ${DPR_REGISTRY}/ci-images/, with TLS checked at both ends.
#
#   mirror-ci-images.sh            copy them
#   mirror-ci-images.sh --check    say which the registry lacks, or has with another digest; exit code 1 if any
#   mirror-ci-images.sh --resolve  look up the digest of each source, and write it into the lock file
#   mirror-ci-images.sh --digests  say which digests nobody has looked up; exit code 1 if any
#   mirror-ci-images.sh --list     every image's source and target
#
#   DPR_REGISTRY  the registry (dprusocplvjmp01.deepsky.lab:5000)
#   CERT_DIR      a folder with the registry's authority (*.crt), where the system does not trust it
#   SKOPEO        skopeo, with its flags
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lock=${LOCK:-$here/ci-images.lock}
registry=${DPR_REGISTRY:-dprusocplvjmp01.deepsky.lab:5000}
read -ra skopeo <<<"${SKOPEO:-skopeo}"
certificates=()
[ -z "${CERT_DIR:-}" ] || certificates=(--cert-dir "$CERT_DIR")

fail() { echo "mirror: $*" >&2; exit 2; }
needs_skopeo() {
  command -v "${skopeo[0]}" >/dev/null || fail "there is no program ${skopeo[0]}; install it (Debian, Fedora: package skopeo)"
}
rows() { grep -vE '^(#|$)' "$lock"; }
target() { echo "$registry/ci-images/$1"; }
# The digest of what a reference names: of the whole list where there are several platforms.
digest_of() { "${skopeo[@]}" inspect ${certificates[@]+"${certificates[@]}"} --raw "docker://$1" | sha256sum | sed 's/ .*//; s/^/sha256:/'; }

copy() {
  local name=$1 source=$2 digest=$3
  [ "$digest" = unresolved ] || source=${source%:*}@$digest
  local to=()
  [ -z "${CERT_DIR:-}" ] || to=(--dest-cert-dir "$CERT_DIR")
  echo "mirror: $source"
  "${skopeo[@]}" copy --all --preserve-digests ${to[@]+"${to[@]}"} "docker://$source" "docker://$(target "$name")"
}

failed=()
case ${1:-} in
  "")
    needs_skopeo
    while read -r name source digest; do
      [ "$source" != built ] || { echo "mirror: $name is built, by make toolchain-image"; continue; }
      copy "$name" "$source" "$digest" </dev/null || failed+=("$name")
    done < <(rows)
    [ ${#failed[@]} -eq 0 ] || { printf 'mirror: not copied: %s\n' "${failed[@]}" >&2; exit 1; }
    ;;
  --check)
    needs_skopeo
    while read -r name _ digest; do
      if ! have=$(digest_of "$(target "$name")" </dev/null 2>/dev/null); then
        failed+=("missing: $name")
      elif [ "$digest" != unresolved ] && [ "$have" != "$digest" ]; then
        failed+=("other digest: $name is $have, not $digest")
      fi
    done < <(rows)
    [ ${#failed[@]} -eq 0 ] || { printf '%s\n' "${failed[@]}"; exit 1; }
    echo "mirror: $registry has them all"
    ;;
  --resolve)
    needs_skopeo
    made=$(mktemp)
    trap 'rm -f "$made"' EXIT
    while IFS= read -r line; do
      case $line in "#"* | "") echo "$line"; continue ;; esac
      read -r name source digest <<<"$line"
      [ "$source" != built ] || source=$(target "$name")
      if found=$(digest_of "$source" </dev/null); then digest=$found; else echo "mirror: nobody answers for $source" >&2; fi
      read -r _ source _ <<<"$line"
      printf '%-37s %-59s %s\n' "$name" "$source" "$digest"
    done <"$lock" >"$made"
    cp "$made" "$lock"
    ;;
  --digests)
    while read -r name _ digest; do
      [ "$digest" != unresolved ] || failed+=("$name")
    done < <(rows)
    [ ${#failed[@]} -eq 0 ] || { printf 'unresolved: %s\n' "${failed[@]}"; exit 1; }
    ;;
  --list) while read -r name source _; do echo "$source $(target "$name")"; done < <(rows) ;;
  *) fail "say nothing, --check, --resolve, --digests or --list" ;;
esac
