#!/usr/bin/env bash
# Installs what the tests and the demo need and this machine lacks, where that may be done: as root on Debian. Elsewhere
# it says what is missing and what is skipped for it, and goes on. With --list it prints what it looks for, each with the
# package of Debian that brings it and "everywhere" where every Debian has that, and does nothing. tests/it/prepared.rs holds
# the list against what tests start.
set -u

# A program, or a file that stands for a package without one.
declare -A package_of=(
  # What builds.
  [gcc]=gcc [make]=make [/usr/include/stdio.h]=libc6-dev [readelf]=binutils [git]=git
  [/etc/ssl/certs/ca-certificates.crt]=ca-certificates
  # The control plane's namespaces, the real node, its images, the git server.
  [ip]=iproute2 [nft]=nftables [containerd]=containerd [ctr]=containerd [containerd-shim-runc-v2]=containerd [runc]=runc
  [/usr/lib/cni/bridge]=containernetworking-plugins [buildah]=buildah [busybox]=busybox-static
  ["/usr/lib/$(uname -m)-linux-gnu/libnss_wrapper.so"]=libnss-wrapper
  [git-shell]=git [sshd]=openssh-server [ssh]=openssh-client [ssh-keygen]=openssh-client
  # What tests drive: agents' programs in approved settings, hostile agents, lists of what is linked.
  [openssl]=openssl [curl]=curl [node]=nodejs [perl]=perl [jq]=jq [python3]=python3
)
# Part of every Debian, and often not of smaller systems.
declare -A everywhere=(
  [bash]=bash [awk]=mawk [sed]=sed [grep]=grep [chown]=coreutils [cp]=coreutils [expand]=coreutils [id]=coreutils [sha256sum]=coreutils
  [sleep]=coreutils [timeout]=coreutils [true]=coreutils [ldd]=libc-bin [mount]=mount [nsenter]=util-linux [prlimit]=util-linux
  [setpriv]=util-linux [sh]=dash [unshare]=util-linux [tar]=tar [gzip]=gzip [getconf]=libc-bin
)
for it in "${!everywhere[@]}"; do package_of[$it]=${everywhere[$it]}; done
# Too new for Debian's packages: these are installed first.
first=(cargo go)
# Built from Go modules by the tests that want them.
built=(helm)

if [ "${1:-}" = --list ]; then
  for it in "${!package_of[@]}"; do echo "$it ${package_of[$it]}${everywhere[$it]:+ everywhere}"; done
  printf '%s -\n' "${first[@]}" "${built[@]}"
  exit 0
fi

has() {
  case $1 in
    /*) [ -e "$1" ] ;;
    *) PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 ;;
  esac
}

for tool in "${first[@]}"; do
  has "$tool" || { echo "prepare: $tool is not installed; install Rust 1.89 or later and Go 1.26 or later first" >&2; exit 1; }
done

missing=()
for it in "${!package_of[@]}"; do has "$it" || missing+=("${package_of[$it]}"); done
# What makes the environment below.
! has python3 || python3 -c 'import ensurepip' >/dev/null 2>&1 || missing+=(python3-venv)
if [[ " ${missing[*]} " = *" python3 "* ]]; then missing+=(python3-venv); fi
if [ ${#missing[@]} -gt 0 ]; then
  mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
  installed=
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "prepare: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null && installed=yes
    [ -n "$installed" ] || echo "prepare: apt-get could not install ${missing[*]}" >&2
  fi
  [ -n "$installed" ] ||
    echo "prepare: missing: ${missing[*]}; what needs one of them, such as a real node, is skipped by name" >&2
fi

# What looks at the pipeline's file and at bills of materials; in a folder of its own, and nothing is lost without it.
if has python3 && ! { has check-jsonschema && has pyspdxtools; }; then
  python=$(dirname "$0")/../../target/python
  { [ -x "$python/bin/check-jsonschema" ] && [ -x "$python/bin/pyspdxtools" ]; } ||
    { python3 -m venv "$python" && "$python/bin/pip" install --quiet --disable-pip-version-check check-jsonschema==0.39.0 spdx-tools==0.8.5 yamllint==1.38.0; } >/dev/null 2>&1 ||
    echo "prepare: check-jsonschema and spdx-tools could not be installed; what they check is skipped by name" >&2
fi
