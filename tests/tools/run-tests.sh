#!/usr/bin/env bash
# Runs every test and ends with what was skipped, by reason. A skip is a line "SKIP name: reason" on standard error.
# OTHER_LOGS=FILE… counts the skips in these as well.
set -u
cd "$(dirname "$0")/../.."
log=target/test.log
mkdir -p target
# Those that run whole pods on a real node have the machine to themselves, two at a time: they hold the times that a run is given. One
# more holds what a second is long enough for.
node=(certificates::whatever_happens_to_the_certificates_is_put_right real_deployed:: real_disruption:: real_images:: real_node:: real_openshift:: real_pending:: real_secrets:: real_trust:: real_upgrade::)
# All others are one more at a time than there are processors: each waits for a good part of its time.
if [ $# = 0 ]; then set -- --test-threads="${RUST_TEST_THREADS:-$(($(nproc) + 1))}" "${node[@]/#/--skip=}"; alone=yes; else alone=; fi
# Objects of each kind and direction that go through the conversion.
export GASTOWN_LAWS=${GASTOWN_LAWS-10000}
# Alerts and dashboards by Prometheus' own engine, where that was built (make test-alerts).
export GASTOWN_PROMQL=${GASTOWN_PROMQL-$(tests/tools/promql.sh --cached)}
# OpenShift's own admission of constraints, where that was built (make test-scc).
export GASTOWN_SCC=${GASTOWN_SCC-$(tests/tools/scc.sh --cached)}
cargo test --locked --workspace --lib --bins --tests --no-fail-fast -- "$@" 2>&1 | tee "$log"
code=${PIPESTATUS[0]}
if [ -n "$alone" ]; then
  cargo test --locked --test it -- "${node[@]}" 2>&1 | tee -a "$log"
  last=${PIPESTATUS[0]}
  [ "$code" != 0 ] || code=$last
  # The benches' own arithmetic, and that both conversions that are compared say the same; it measures nothing.
  cargo test --locked --bench polecats --bench conversion 2>&1 | tee -a "$log"
  last=${PIPESTATUS[0]}
  [ "$code" != 0 ] || code=$last
fi
# With one test at a time its name comes first, on the same line.
all_skips=$(cat "$log" ${OTHER_LOGS:-} | grep -oE '(^|^test [^ ]+ \.\.\. )SKIP [^ ]+: .*' | sed 's/^test [^ ]* \.\.\. //' || true)
skips=$(printf '%s' "$all_skips" | grep -c '')
# What failed, with its words, where a reader of the last lines finds it.
awk '/^failures:$/ {shown = 0} /^---- .* stdout ----$/ {shown = 25} shown {print; shown--}' "$log"
echo
grep "^test result" "$log"
tests/tools/margins.sh "$log"
echo "objects of each kind and direction through the conversion: $GASTOWN_LAWS, and a tenth of them against each law but there and back"
echo "skipped: $skips"
[ -z "$all_skips" ] || printf '%s\n' "$all_skips" | sed 's/^SKIP [^:]*: //' | sort | uniq -c
exit "$code"
