#!/usr/bin/env bash
# Makes a JUnit report of what `make test` has written: junit.sh target/test.log > junit.xml. A test that skipped itself is
# reported as skipped, with its reason; what a failed one said goes into its case.
set -euo pipefail
awk '
  function xml(text) {
    gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); gsub(/>/, "\\&gt;", text); gsub(/"/, "\\&quot;", text)
    gsub(/[^\t\n -~\302-\364\200-\277]/, "", text)
    return text
  }
  function name_of(at) { return at ~ /::/ ? substr(at, match(at, /[^:]*$/)) : at }
  /^ *Running / { suite = $0; sub(/^ *Running (unittests )?/, "", suite); sub(/ \(.*/, "", suite); said = ""; next }
  /^SKIP / { line = substr($0, 6); at = index(line, ": "); skipped[substr(line, 1, at - 1)] = substr(line, at + 2); next }
  /^---- .* stdout ----$/ { said = $2; next }
  /^failures:$/ || /^test result: / { said = ""; next }
  said != "" { words[suite, said] = words[suite, said] $0 "\n"; next }
  /^test .* \.\.\. (ok|FAILED|ignored)/ {
    at = $2; result = $0; sub(/.* \.\.\. /, "", result)
    count++; suites[count] = suite; names[count] = at; results[count] = result
    failures += result ~ /^FAILED/
  }
  END {
    print "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
    printf "<testsuites><testsuite name=\"gastown\" tests=\"%d\" failures=\"%d\">\n", count, failures
    for (i = 1; i <= count; i++) {
      printf "<testcase classname=\"%s\" name=\"%s\">", xml(suites[i]), xml(names[i])
      bare = name_of(names[i])
      if (results[i] ~ /^FAILED/) printf "<failure>%s</failure>", xml(words[suites[i], names[i]])
      else if (bare in skipped) printf "<skipped message=\"%s\"/>", xml(skipped[bare])
      else if (results[i] ~ /^ignored/) printf "<skipped/>"
      print "</testcase>"
    }
    print "</testsuite></testsuites>"
  }
' "$1"
