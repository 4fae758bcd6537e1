// Command promql runs Prometheus' own rules and queries without a Prometheus.
//
//	promql rules RULES.yaml CASES.yaml    alerts of a PrometheusRule against series, in the words of promtool's unit tests
//	promql queries SCRAPES.json           queries against scrapes in OpenMetrics; says how many series with a number each gives
//
// A case that does not come out as announced is told on standard error, and the exit code is 1.
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "promql:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 3 && arguments[0] == "rules":
		return testRules(arguments[1], arguments[2])
	case len(arguments) == 2 && arguments[0] == "queries":
		return countQueries(arguments[1])
	default:
		return fmt.Errorf("usage: promql rules RULES.yaml CASES.yaml | promql queries SCRAPES.json")
	}
}
