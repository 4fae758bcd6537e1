#!/usr/bin/env bash
# Writes what is linked into the programs of an edition as SPDX 2.3, from Cargo.lock: sbom.sh community|enterprise FILE. The
# same commit makes the same file.
set -euo pipefail
edition=$1 into=$(realpath -m "$2")
cd "$(dirname "$0")/../.."
command -v jq >/dev/null || { echo "sbom: there is no jq; install it" >&2; exit 2; }
cargo=${CARGO:-cargo}
export LC_ALL=C
features=()
[ "$edition" != enterprise ] || features=(--features fips)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
$cargo fetch --quiet --locked
for target in x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu; do
  $cargo tree --offline --locked --package gastown --edges normal --prefix none ${features[@]+"${features[@]}"} --target "$target" --format '{p}|{l}|{r}'
done | sed 's/ (proc-macro)//; s/ (\*)$//' | grep -v '^gastown ' | sort -u >"$work/linked"
# name version checksum, as they are locked
awk -F'"' '/^name = /{n=$2} /^version = /{v=$2} /^checksum = /{print n "|" v "|" $2}' Cargo.lock | sort >"$work/locked"
mkdir -p "$(dirname "$into")"
jq -Rn --arg edition "$edition" --arg version "$version" --rawfile locked "$work/locked" \
  --arg revision "$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
  --arg created "$(TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null || echo 1970-01-01T00:00:00Z)" '
  def id: "SPDXRef-" + gsub("[^A-Za-z0-9.-]"; "-");
  ($locked | split("\n") | map(select(. != "") | split("|") | {key: "\(.[0]) v\(.[1])", value: .[2]}) | from_entries) as $sums |
  [inputs | split("|") | {crate: .[0], license: .[1], repository: .[2]}] as $linked |
  "gastown-operator-\($edition)" as $name |
  {
    spdxVersion: "SPDX-2.3", dataLicense: "CC0-1.0", SPDXID: "SPDXRef-DOCUMENT", name: $name,
    documentNamespace: "https://gastown.example/sbom/\($name)-\($version)-\($revision)",
    creationInfo: {created: $created, creators: ["Tool: gastown-sbom-\($version)"]},
    packages: ([{
      SPDXID: "SPDXRef-operator", name: $name, versionInfo: $version, downloadLocation: "NOASSERTION", filesAnalyzed: false,
      licenseConcluded: "Apache-2.0", licenseDeclared: "Apache-2.0", copyrightText: "NOASSERTION"
    }] + [$linked[] | (.crate | split(" v")) as [$crate, $of] | {
      SPDXID: ("crate-\($crate)-\($of)" | id), name: $crate, versionInfo: $of, filesAnalyzed: false, copyrightText: "NOASSERTION",
      downloadLocation: "NOASSERTION",
      licenseConcluded: "NOASSERTION", licenseDeclared: (.license | gsub(" */ *"; " OR ") | if . == "" then "NOASSERTION" else . end),
      checksums: [{algorithm: "SHA256", checksumValue: $sums[.crate]}],
      externalRefs: [{referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator: "pkg:cargo/\($crate)@\($of)"}]
    }]),
    relationships: ([{spdxElementId: "SPDXRef-DOCUMENT", relationshipType: "DESCRIBES", relatedSpdxElement: "SPDXRef-operator"}] +
      [$linked[] | (.crate | split(" v")) as [$crate, $of] |
        {spdxElementId: "SPDXRef-operator", relationshipType: "STATIC_LINK", relatedSpdxElement: ("crate-\($crate)-\($of)" | id)}])
  }' <"$work/linked" >"$into"
echo "sbom: $into names $(grep -c '' "$work/linked") crates"
