#!/usr/bin/env bash
# Installs what the tests and the demo need and this machine lacks, where that may be done: as root on Debian. Elsewhere
# it says what is missing and what is skipped for it, and goes on. With --demo it leaves out what tests alone need, with --lint
# it also sees to rustfmt and clippy. With --list it prints what it looks for, each with the package of Debian that brings it and
# "everywhere" where every Debian has that, and does nothing. tests/it/prepared.rs holds the list against what tests start.
set -u

# A program, or a file that stands for a package without one.
declare -A package_of=(
  # What builds.
  [gcc]=gcc [make]=make [/usr/include/stdio.h]=libc6-dev [readelf]=binutils [git]=git
  [/etc/ssl/certs/ca-certificates.crt]=ca-certificates
  # The control plane's namespaces, the real node, its images, the git server.
  [ip]=iproute2 [nft]=nftables [containerd]=containerd [ctr]=containerd [containerd-shim-runc-v2]=containerd [runc]=runc
  [/usr/lib/cni/bridge]=containernetworking-plugins [busybox]=busybox-static
  ["/usr/lib/$(uname -m)-linux-gnu/libnss_wrapper.so"]=libnss-wrapper
  [git-shell]=git [sshd]=openssh-server [ssh]=openssh-client [ssh-keygen]=openssh-client
)
# What tests alone drive: images, agents' programs in approved settings, hostile agents, lists of what is linked.
declare -A for_tests=(
  [buildah]=buildah [openssl]=openssl [curl]=curl [node]=nodejs [perl]=perl [jq]=jq [python3]=python3
)
# Part of every Debian, and often not of smaller systems.
declare -A everywhere=(
  [bash]=bash [awk]=mawk [sed]=sed [grep]=grep [chown]=coreutils [cp]=coreutils [expand]=coreutils [id]=coreutils [sha256sum]=coreutils
  [sleep]=coreutils [timeout]=coreutils [true]=coreutils [ldd]=libc-bin [mount]=mount [nsenter]=util-linux [prlimit]=util-linux
  [setpriv]=util-linux [sh]=dash [unshare]=util-linux [tar]=tar [gzip]=gzip [getconf]=libc-bin
)
for it in "${!everywhere[@]}"; do package_of[$it]=${everywhere[$it]}; done
[ "${1:-}" = --demo ] || for it in "${!for_tests[@]}"; do package_of[$it]=${for_tests[$it]}; done
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

top=$(dirname "$0")/../..

# Whether a version, such as 1.26.8 or 1.90.0-nightly, is this one or a later.
is_at_least() {
  local -a has want
  local i
  IFS=. read -ra has <<<"$1"
  IFS=. read -ra want <<<"$2"
  for i in 0 1 2; do
    has[i]=${has[i]:-0} has[i]=${has[i]%%[!0-9]*} want[i]=${want[i]:-0}
    [ "${has[i]:-0}" -eq "${want[i]}" ] || { [ "${has[i]:-0}" -gt "${want[i]}" ]; return; }
  done
}

# What a line of a file says behind these words, without quotes.
said() {
  local line
  while read -r line; do
    [[ $line != "$2"* ]] || { line=${line#"$2"}; echo "${line//\"/}"; return; }
  done < "$top/$1"
}

# PROGRAM, its version, the version that is needed and by which file, and the way to it.
demand() {
  local it=$1 version=$2 wanted=$3 file=$4 way=$5
  if ! has "$it"; then
    echo "prepare: $it is not installed, or not in PATH; install ${it/cargo/Rust} $wanted or later ($way)" >&2
    [ -z "${SUDO_USER:-}" ] || echo 'prepare: sudo has a PATH of its own: sudo env "PATH=$PATH" make ...' >&2
    exit 1
  elif ! is_at_least "$version" "$wanted"; then
    echo "prepare: $it here is ${version:-of a version that it does not say}, and $file needs $wanted or later ($way)" >&2
    exit 1
  fi
}

# An own version of Rust or Go may be set for this folder; a Go that can, fetches the one that is needed.
cargo=$(cd "$top" && cargo --version 2>/dev/null) cargo=${cargo#cargo }
demand cargo "${cargo%% *}" "$(said Cargo.toml 'rust-version = ')" Cargo.toml "rustup update, or https://rustup.rs"
go=$(cd "$top/tests/tools" && go env GOVERSION 2>/dev/null)
demand go "${go#go}" "$(said tests/tools/go.mod 'go ')" tests/tools/go.mod "https://go.dev/dl"

if [ "${1:-}" = --lint ]; then
  for it in fmt:rustfmt clippy:clippy; do
    ! cargo "${it%:*}" --version >/dev/null 2>&1 || continue
    if ! has rustup; then
      echo "prepare: cargo ${it%:*} is missing: install ${it#*:} beside your Rust" >&2
      exit 1
    fi
    echo "prepare: adding ${it#*:} by rustup"
    (cd "$top" && rustup component add "${it#*:}") || exit 1
  done
fi

# Installs packages, of which no daemon is started, now or with the machine: nobody asked for a server of ssh.
install() {
  local policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d} keeper='' held=''
  if [ ! -e "$policy" ]; then
    # Whoever keeps it removes it once nobody holds the pipe: this script has ended, of whatever. apt-get does not hold it, since
    # what that leaves running would keep us waiting.
    exec {held}> >(trap '' INT TERM HUP; while read -r _; do :; done; rm -f "$policy")
    keeper=$!
    printf '#!/bin/sh\nexit 101 # of tests/tools/prepare.sh\n' > "$policy" && chmod +x "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive
  local code=1
  if apt-get update -qq >/dev/null; then
    (
      [ -z "$held" ] || exec {held}>&-
      exec apt-get install -y -q --no-install-recommends "$@"
    ) > >(
      [ -z "$held" ] || exec {held}>&-
      while read -r line; do
        case $line in Get:* | "Setting up "*) echo "prepare: $line" ;; esac
      done
    )
    code=$?
  fi
  [ -z "$held" ] || { exec {held}>&-; wait "$keeper"; }
  case " $* " in *" openssh-server "*) idle ssh.service ssh.socket ;; esac
  case " $* " in *" containerd "*) idle containerd.service ;; esac
  return $code
}

# Units that were installed a moment ago, as a machine with systemd has them.
idle() { ! has systemctl || systemctl disable "$@" >/dev/null 2>&1 || true; }

missing=()
for it in "${!package_of[@]}"; do has "$it" || missing+=("${package_of[$it]}"); done
# What makes the environment below.
[ "${1:-}" = --demo ] || ! has python3 || python3 -c 'import ensurepip' >/dev/null 2>&1 || missing+=(python3-venv)
if [[ " ${missing[*]} " = *" python3 "* ]]; then missing+=(python3-venv); fi
if [ ${#missing[@]} -gt 0 ]; then
  mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
  installed=
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "prepare: installing ${missing[*]}"
    install "${missing[@]}" && installed=yes
    [ -n "$installed" ] || echo "prepare: apt-get could not install ${missing[*]}" >&2
  fi
  [ -n "$installed" ] ||
    echo "prepare: missing: ${missing[*]}; what needs one of them, such as a real node, is skipped by name" >&2
fi

# What looks at the pipeline's file and at bills of materials; in a folder of its own, and nothing is lost without it.
if [ "${1:-}" != --demo ] && has python3 && ! { has check-jsonschema && has pyspdxtools; }; then
  python=$top/target/python
  { [ -x "$python/bin/check-jsonschema" ] && [ -x "$python/bin/pyspdxtools" ]; } || {
    echo "prepare: fetching check-jsonschema and spdx-tools" >&3
    python3 -m venv "$python" &&
      "$python/bin/pip" install --quiet --timeout 15 --retries 2 --disable-pip-version-check \
        check-jsonschema==0.39.0 spdx-tools==0.8.5 yamllint==1.38.0
  } 3>&1 >/dev/null 2>&1 ||
    echo "prepare: check-jsonschema and spdx-tools could not be installed; what they check is skipped by name" >&2
fi
