#!/usr/bin/env bash
# The FIPS edition as it is released: what its three programs link, that they are linked dynamically, as OpenShift's check of
# payloads wants, and that the operator proves what it is or does not start. Needs CMake, Go and openssl beside a C compiler;
# without root the kernel's flag is not told apart, which is an error where GASTOWN_REQUIRE has root.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=target/fips
spoilt=$target/spoilt
said=$target/said

fail() { echo "test-fips: $*" >&2; exit 1; }
for tool in cmake go nm readelf strip openssl; do
  command -v $tool >/dev/null ||
    fail "$tool is not installed; the module is built by CMake and Go, looked at by binutils, and called by openssl"
done

# The symbols are what is audited; what is shipped is the same without them.
CARGO_PROFILE_RELEASE_STRIP=none \
  cargo build --locked --release --features fips --bin gastown-operator --bin gt-runner --bin kubectl-gt --target-dir "$target"
program=$target/release/gastown-operator

echo "== what they link"
version=$(grep -A1 '^name = "aws-lc-fips-sys"' Cargo.lock | sed -n 's/^version = "\(.*\)"/\1/p')
prefix=aws_lc_fips_${version//./_}_
symbols=$target/symbols
for it in gt-runner kubectl-gt gastown-operator; do # the last one's are needed below
  nm "$target/release/$it" >"$symbols"
  approved=$(grep -c " $prefix" "$symbols" || true)
  [ "$approved" -gt 1000 ] || fail "$it: $approved symbols of $prefix: the module is not linked"
  for other in ' aws_lc_[0-9]' ' ring_core_' ' SSL_CTX_new$' ' mbedtls_'; do
    count=$(grep -cE "$other" "$symbols" || true)
    [ "$count" = 0 ] || fail "$it: $count symbols like '$other': cryptography beside the module"
  done
  echo "$it: $approved symbols of $prefix; none of another library"
done
for crate in ring native-tls openssl openssl-sys boring; do
  # A word on what is not there is no tree.
  ! cargo tree --locked --features fips --edges normal --invert "$crate" 2>/dev/null | grep -q . || fail "$crate is linked"
done
copies=$(cargo tree --locked --features fips --edges normal --prefix none | grep -oE '^rustls v[0-9.]+' | sort -u | wc -l)
[ "$copies" = 1 ] || fail "$copies versions of rustls"

echo "== that they are linked dynamically"
for it in gastown-operator gt-runner kubectl-gt; do
  readelf --program-headers "$target/release/$it" | grep -q INTERP || fail "$it has no interpreter: it is static"
  needed=$(readelf --dynamic "$target/release/$it" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | tr '\n' ' ')
  case $needed in *libssl*|*libcrypto*) fail "$it needs $needed" ;; esac
  echo "$it needs $needed"
  tests/tools/glibc.sh "$target/release/$it" 2.34
done

echo "== its proof"
report() { "$@" --crypto-report; }
shipped=$target/gastown-operator
strip -o "$shipped" "$program"
for it in "$program" "$shipped"; do
  report "$it" >"$said"
  for line in '"module": "AWS-LC FIPS"' '"fipsMode": true' '"client": true' '"server": true'; do
    grep -qF "$line" "$said" || fail "$it does not say $line: $(cat "$said")"
  done
  ! grep -qE 'CHACHA20|X25519"' "$said" || fail "$it offers what is not approved: $(cat "$said")"
  ! grep -qiE 'validated|certified' "$said" || fail "$it claims too much: $(cat "$said")"
done
cat "$said"

refused() { # what, words that are told, arguments
  if "$shipped" "${@:3}" --crypto-report >"$said" 2>&1; then fail "it runs with $1"; fi
  grep -q -- "$2" "$said" || fail "$1: $(cat "$said")"
  echo "refused with $1: $(head -1 "$said")"
}
refused "a group that is not approved" --tls-groups --tls-groups=X25519
refused "a suite that is not approved" --tls-cipher-suites \
  --tls-profile=Custom --tls-cipher-suites=TLS_CHACHA20_POLY1305_SHA256

echo "== the kernel's flag is told, and decides nothing"
# The kernel may have no such file: one is put over the folder that it would be in, where only the program sees it.
if [ "$(id -u)" = 0 ] && unshare --mount true 2>/dev/null; then
  for value in 0 1; do
    unshare --mount sh -c "mount -t tmpfs none /proc/sys && mkdir /proc/sys/crypto &&
      echo $value >/proc/sys/crypto/fips_enabled && exec '$shipped' --crypto-report" >"$said"
    want=$([ $value = 1 ] && echo true || echo false)
    grep -q "\"kernelFips\": $want" "$said" || fail "flag $value: $(cat "$said")"
    echo "flag $value is told as $want"
  done
else
  case ",${GASTOWN_REQUIRE:-}," in
    *,root,*) fail "GASTOWN_REQUIRE wants root, and the kernel's flag needs it, with namespaces of its own" ;;
  esac
  echo "SKIP kernel flag: needs root and namespaces of its own" >&2
fi

echo "== a module that was changed"
address() { sed -n "s/^\([0-9a-f]*\) . .*$1\$/\1/p" "$symbols" | head -1; }
start=$(address BORINGSSL_bcm_text_start) end=$(address BORINGSSL_bcm_text_end)
{ [ -n "$start" ] && [ -n "$end" ]; } || fail "the module's borders are not among the symbols"
middle=$(((16#$start + 16#$end) / 2))
read -r section offset < <(readelf --sections --wide "$program" | sed 's/^ *\[ *[0-9]*\] *//' |
  awk '$1 == ".text" { print $3, $4 }')
place=$((middle - 16#$section + 16#$offset))
cp "$program" "$spoilt"
byte=$(od -An -tu1 -j $place -N1 "$spoilt" | tr -d ' ')
printf "\\x$(printf %02x $((byte ^ 1)))" | dd of="$spoilt" bs=1 seek=$place conv=notrunc status=none
if "$spoilt" --crypto-report >"$said" 2>&1; then fail "it runs with another module: $(cat "$said")"; fi
echo "does not start: $(head -1 "$said")"
rm -f "$spoilt"

echo "== its handshakes"
export GASTOWN_REQUIRE=openssl${GASTOWN_REQUIRE:+,$GASTOWN_REQUIRE}
cargo test --locked --features fips --target-dir "$target" --lib -- tls:: tasks::webhooks::
echo "test-fips: all of it holds"
