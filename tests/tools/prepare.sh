#!/usr/bin/env bash
# Installs what the tests and the demo need and this machine lacks, where that may be done: as root on Debian. Elsewhere
# it says what is missing and what is skipped for it, and goes on.
set -u

declare -A package_of=(
  [buildah]=buildah [containerd]=containerd [runc]=runc [ip]=iproute2 [nft]=nftables [sshd]=openssh-server [ssh]=openssh-client
  ["/usr/lib/$(uname -m)-linux-gnu/libnss_wrapper.so"]=libnss-wrapper [git]=git [openssl]=openssl [busybox]=busybox-static [/usr/lib/cni/bridge]=containernetworking-plugins [gcc]=gcc [make]=make
)

has() {
  case $1 in
    /*) [ -e "$1" ] ;;
    *) PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 ;;
  esac
}

# What looks at the pipeline's file and at bills of materials; in a folder of its own, and nothing is lost without it.
if command -v python3 >/dev/null 2>&1 && ! { command -v check-jsonschema && command -v pyspdxtools; } >/dev/null 2>&1; then
  python=$(dirname "$0")/../../target/python
  { [ -x "$python/bin/check-jsonschema" ] && [ -x "$python/bin/pyspdxtools" ]; } ||
    { python3 -m venv "$python" && "$python/bin/pip" install --quiet --disable-pip-version-check check-jsonschema==0.39.0 spdx-tools==0.8.5 yamllint==1.38.0; } >/dev/null 2>&1 ||
    echo "prepare: check-jsonschema and spdx-tools could not be installed; what they check is skipped by name" >&2
fi

missing=()
for program in "${!package_of[@]}"; do has "$program" || missing+=("${package_of[$program]}"); done
for tool in cargo go; do
  has "$tool" || { echo "prepare: $tool is not installed; install Rust 1.89 or later and Go 1.26 or later first" >&2; exit 1; }
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "prepare: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null && exit 0
  echo "prepare: apt-get could not install ${missing[*]}" >&2
fi
echo "prepare: missing: ${missing[*]}; without them there is no real node, and what needs one is skipped by name" >&2
