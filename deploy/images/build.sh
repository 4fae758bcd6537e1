#!/usr/bin/env bash
# Builds or pushes the images of one edition with buildah: build.sh build | push | agent | toolchain | toolchain-push | names, or
# build.sh send IMAGE WHAT, which pushes another one in the same way; build.sh catalog IMAGE FOLDER, which builds a catalog's;
# build.sh release-check says whether CI_COMMIT_TAG, or else the tag of what is checked out, is the version; build.sh moment says
# when what is built was committed, build.sh platforms for what it is, and build.sh pushed WHAT which image went out, by digest.
#
#   EDITION       community (Dockerfile) or enterprise (Dockerfile.ubi9)
#   IMG           the operator's image; the two others are named after it and its tag, or by RUNNER_IMG and AGENT_IMG
#   PLATFORMS     such as linux/amd64,linux/arm64; each needs its programs (BINARIES), or an emulator for its builder
#   BINARIES      built (in the image's own builder) or prebuilt (`make dist` was run: target/dist/EDITION/ARCHITECTURE)
#   TARGETS       which of them: operator runner agent
#   DPR_REGISTRY  where bases come from
#   BUILD_ARGS    more arguments for buildah, such as --build-arg RUNNER_BASE=localhost/base:1
#   AGENT_NPM     agent: package@version of npm that is added to the agent base
#   AGENT_PIP     agent: package==version of PyPI
#   BUILDAH       buildah, with its flags
#   RELEASE       push: the folder in which pushed-EDITION.txt says which images went out, by digest (target/dist)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

fail() { echo "images: $*" >&2; exit 2; }

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
edition=${EDITION:-community}
case $edition in
  community) file=Dockerfile suffix= ;;
  enterprise) file=Dockerfile.ubi9 suffix=-ubi9 ;;
  *) fail "EDITION=$edition is no edition; write community or enterprise" ;;
esac
registry=${DPR_REGISTRY:-dprusocplvjmp01.deepsky.lab:5000}
toolchain=${TOOLCHAIN_IMG:-$registry/ci-images/gastown-toolchain$suffix:1.95}
operator=${IMG:-gastown-operator:$version$suffix}
platforms=${PLATFORMS:-linux/$(case $(uname -m) in (x86_64) echo amd64 ;; (aarch64) echo arm64 ;; (*) uname -m ;; esac)}
read -ra buildah <<<"${BUILDAH:-buildah}"
notes=${RELEASE:-target/dist}/pushed-$edition.txt
# What images are built of.
context=.
# To say what images are called takes no program.
[[ " names note pushed platforms release-check moment " = *" ${1:-} "* ]] || command -v "${buildah[0]}" >/dev/null ||
  fail "there is no program ${buildah[0]}; install it (Debian, Fedora: package buildah)"

# registry/path/gastown-operator:1 becomes registry/path/gastown-runner:1, and any other name gets -runner; a second word goes
# behind it.
sibling() {
  local tag=${operator##*/} path=
  [ "$tag" = "$operator" ] || path=${operator%/*}/
  local name=${tag%%[:@]*}
  tag=${tag#"$name"}
  tag=${tag%%@*}
  case $operator in
    *@*) [ -n "$tag" ] || fail "$operator has a digest and no tag, so the $1's image is not known; give $(tr a-z A-Z <<<"$1")_IMG as well" ;;
  esac
  echo "$path${name%-operator}-$1$tag${2:-}"
}
image_of() {
  local image
  case $1 in
    operator) image=$operator ;;
    runner) image=${RUNNER_IMG:-} ;;
    agent) image=${AGENT_IMG:-} ;;
    *) fail "TARGETS: $1 is none of operator, runner, agent" ;;
  esac
  [ -n "$image" ] || image=$(sibling "$1") || exit
  echo "$image"
}

# A base is taken by the digest that the lock file has of it, or else by its tag.
pinned() {
  local digest
  digest=$(awk -v name="$1" '$1 == name { print $3 }' deploy/mirror/ci-images.lock)
  case $digest in
    sha256:*) echo "$registry/ci-images/${1%%:*}@$digest" ;;
    *) echo "$registry/ci-images/$1" ;;
  esac
}
pins() {
  local argument name
  while IFS=$'\t' read -r argument name; do
    printf -- '--build-arg\n%s=%s\n' "$argument" "$(pinned "$name")"
  done < <(sed -nE 's|^ARG ([A-Z_]+)=\$\{DPR_REGISTRY\}/ci-images/(.+)$|\1\t\2|p' "$file")
}

# What git says, or beyond a repository a word that says nothing, which no release is built with.
told() {
  local instead=$1
  shift
  git "$@" 2>/dev/null && return
  [ -z "${CI_COMMIT_TAG:-}" ] || fail "git does not say which commit the release $CI_COMMIT_TAG is; build it in its repository"
  echo "$instead"
}
# The last commit's time for every file, so that the same sources make the same image.
moment() { told 0 log -1 --format=%ct; }
revision() { told unknown rev-parse HEAD; }

# Chart, kustomize and mirror lists name images by the version: under any other tag nobody would find them.
release_check() {
  local tag=${CI_COMMIT_TAG:-$(git describe --tags --exact-match 2>/dev/null || true)}
  [ -z "$tag" ] || [ "$tag" = "$version" ] ||
    fail "the tag is $tag and the version in Cargo.toml $version; tag the release as $version, or raise the version first"
}

bud() {
  local target=$1 image=$2
  shift 2
  local all=() it more made commit
  made=$(moment)
  commit=$(revision)
  while IFS= read -r it; do all+=("$it"); done < <(pins)
  read -ra more <<<"${BUILD_ARGS:-}"
  all+=(--build-arg "DPR_REGISTRY=$registry" --build-arg "BINARIES=${BINARIES:-built}" --build-arg "VERSION=$version"
    --build-arg "REVISION=$commit" --timestamp "$made" --platform "$platforms" --target "$target" --file "$file" "$@"
    ${more[@]+"${more[@]}"})
  echo "images: $image ($edition, $target, $platforms)"
  case $platforms in
    *,*)
      "${buildah[@]}" manifest rm "$image" >/dev/null 2>&1 || true
      "${buildah[@]}" build "${all[@]}" --manifest "$image" "$context"
      ;;
    *) "${buildah[@]}" build "${all[@]}" --tag "$image" "$context" ;;
  esac
}

# Pushes an image, and notes for who signs it its digest and what it is.
send() {
  local image=$1 what=$2 digest
  mkdir -p "${notes%/*}"
  rm -f "$notes.digest"
  echo "images: pushing $image"
  case $platforms in
    *,*) "${buildah[@]}" manifest push --all --digestfile "$notes.digest" "$image" "docker://$image" ;;
    *) "${buildah[@]}" push --digestfile "$notes.digest" "$image" "docker://$image" ;;
  esac
  [ -s "$notes.digest" ] || fail "${buildah[0]} did not say which digest $image has"
  digest=$(cat "$notes.digest")
  rm "$notes.digest"
  note "$image" "$digest" "$what"
}
note() {
  local image=$1 digest=$2 what=$3
  mkdir -p "${notes%/*}"
  touch "$notes"
  { awk -v image="$image@" 'index($0, image) != 1' "$notes" && echo "$image@$digest $what"; } | LC_ALL=C sort >"$notes.new"
  mv "$notes.new" "$notes"
}

# What was pushed, by its digest alone: many who pull take no tag beside one.
pushed() {
  local image
  image=$(awk -v what="$1" '$2 == what { print $1 }' "$notes" 2>/dev/null) || true
  [ -n "$image" ] || fail "$notes names no $1; push it first"
  [ "$(wc -l <<<"$image")" = 1 ] || fail "$notes names several of $1; remove it, and push again"
  local named=${image%%@*}
  echo "${named%:*}@${image#*@}"
}

# An agent with its version: what is built today and tomorrow is the same.
agent() {
  local image=${AGENT_IMG:-} pin
  [ -z "${AGENT_NPM:-}" ] || [ -z "${AGENT_PIP:-}" ] || fail "give one of AGENT_NPM and AGENT_PIP"
  if [ -n "${AGENT_NPM:-}" ]; then
    pin='^(@[a-z0-9._~-]+/)?[a-z0-9._~-]+@[0-9]+\.[0-9]+\.[0-9]+[0-9A-Za-z.+-]*$'
    [[ $AGENT_NPM =~ $pin ]] || fail "AGENT_NPM=$AGENT_NPM is not pinned; write package@1.2.3"
    [ -n "$image" ] || image=$(sibling agent "-$(tr -c 'A-Za-z0-9_.\n' - <<<"${AGENT_NPM#@}")")
    bud agent-npm "$image" --build-arg "AGENT_NPM=$AGENT_NPM" --build-arg "NPM_REGISTRY=${NPM_REGISTRY:-}" \
      --build-arg "AGENT_BASE=${AGENT_BASE:-$(base NODE)}"
  elif [ -n "${AGENT_PIP:-}" ]; then
    pin='^[A-Za-z0-9._-]+(\[[A-Za-z0-9,._-]+\])?==[0-9][0-9A-Za-z.+!-]*$'
    [[ $AGENT_PIP =~ $pin ]] || fail "AGENT_PIP=$AGENT_PIP is not pinned; write package==1.2.3"
    [ -n "$image" ] || image=$(sibling agent "-$(tr -c 'A-Za-z0-9_.\n' - <<<"$AGENT_PIP")")
    bud agent-pip "$image" --build-arg "AGENT_PIP=$AGENT_PIP" --build-arg "PIP_INDEX=${PIP_INDEX:-}" \
      --build-arg "AGENT_BASE=${AGENT_BASE:-$(base PYTHON)}"
  else
    fail "name the agent: AGENT_NPM=package@version or AGENT_PIP=package==version"
  fi
  echo "images: push it: make docker-push TARGETS=agent EDITION=$edition AGENT_IMG=$image${PLATFORMS:+ PLATFORMS=$PLATFORMS}"
  echo "images: then name it: as AGENT_IMG beside the EDITION and IMG by which you run make deploy, as agentImage of the chart, as"
  echo "images: RELATED_IMAGE_AGENT in a Subscription's spec.config.env, or as spec.agent.image of a Polecat"
}

# The agent base with Node.js or Python.
base() {
  case $1-$edition in
    NODE-community) pinned node:22-bookworm-slim ;;
    NODE-enterprise) pinned ubi9-nodejs-22-minimal:9.6 ;;
    PYTHON-community) pinned python:3.13-slim-bookworm ;;
    PYTHON-enterprise) pinned ubi9-python-312-minimal:9.6 ;;
  esac
}

case ${1:-} in
  build) for it in ${TARGETS:-operator runner agent}; do image=$(image_of "$it"); bud "$it" "$image"; done ;;
  push) for it in ${TARGETS:-operator runner agent}; do image=$(image_of "$it"); send "$image" "$it"; done ;;
  send) send "${2:?which image}" "${3:?what it is}" ;;
  agent) agent ;;
  toolchain) bud toolchain "$toolchain" ;;
  # It belongs to no release, so nobody who signs one is told of it.
  toolchain-push) notes=target/toolchain/pushed-$edition.txt; send "$toolchain" toolchain ;;
  release-check) release_check ;;
  catalog) file=deploy/catalog/Dockerfile context=${3:?which folder}; bud catalog "${2:?which image}" ;;
  note) note "${2:?which image}" "${3:?its digest}" "${4:?what it is}" ;;
  pushed) pushed "${2:?which of them}" ;;
  platforms) echo "$platforms" ;;
  moment) moment ;;
  names) for it in ${TARGETS:-operator runner agent}; do image_of "$it"; done ;;
  *) fail "say build, push, send, agent, toolchain, toolchain-push, catalog, names, note, pushed, platforms, release-check or moment" ;;
esac
