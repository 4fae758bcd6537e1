package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"gopkg.in/yaml.v3"
)

// cases are what promtool reads, as far as alerts need it.
type cases struct {
	Interval model.Duration `yaml:"evaluation_interval"`
	Tests    []unit         `yaml:"tests"`
}

type unit struct {
	Name     string         `yaml:"name"`
	Interval model.Duration `yaml:"interval"`
	Series   []struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	} `yaml:"input_series"`
	Alerts []struct {
		At     model.Duration `yaml:"eval_time"`
		Name   string         `yaml:"alertname"`
		Firing []struct {
			Labels map[string]string `yaml:"exp_labels"`
		} `yaml:"exp_alerts"`
	} `yaml:"alert_rule_test"`
}

func testRules(rulesPath, casesPath string) error {
	groups, err := readRules(rulesPath)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(casesPath)
	if err != nil {
		return err
	}
	var all cases
	if err := yaml.Unmarshal(text, &all); err != nil {
		return fmt.Errorf("%s: %w", casesPath, err)
	}
	fired, silent := map[string]bool{}, map[string]bool{}
	var wrong []error
	for _, it := range all.Tests {
		if err := it.test(groups, time.Duration(all.Interval), fired, silent); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", it.Name, err))
		}
	}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			if rule.Alert != "" && (!fired[rule.Alert] || !silent[rule.Alert]) {
				wrong = append(wrong, fmt.Errorf("%s: no case has it fire, or none has it not fire", rule.Alert))
			}
		}
	}
	fmt.Printf("%d cases, %d alerts seen firing\n", len(all.Tests), len(fired))
	return errors.Join(wrong...)
}

// readRules takes the groups out of a PrometheusRule, with the checks that Prometheus makes.
func readRules(path string) (*rulefmt.RuleGroups, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var object struct {
		Spec yaml.Node `yaml:"spec"`
	}
	if err := yaml.Unmarshal(text, &object); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	spec, err := yaml.Marshal(&object.Spec)
	if err != nil {
		return nil, err
	}
	groups, errs := rulefmt.Parse(spec, false)
	if len(errs) > 0 {
		return nil, fmt.Errorf("%s: %w", path, errors.Join(errs...))
	}
	return groups, nil
}

func (u *unit) test(groups *rulefmt.RuleGroups, every time.Duration, fired, silent map[string]bool) error {
	store, err := newStore()
	if err != nil {
		return err
	}
	defer store.close()
	if err := u.fill(store); err != nil {
		return err
	}
	made, err := u.groups(groups, store)
	if err != nil {
		return err
	}
	var last time.Duration
	for _, it := range u.Alerts {
		last = max(last, time.Duration(it.At))
	}
	var wrong []error
	for at := time.Duration(0); at <= last; at += every {
		for _, group := range made {
			group.Eval(context.Background(), time.UnixMilli(at.Milliseconds()))
		}
		for _, it := range u.Alerts {
			if time.Duration(it.At) != at {
				continue
			}
			var want []string
			for _, one := range it.Firing {
				want = append(want, labels.FromMap(one.Labels).String())
			}
			sort.Strings(want)
			got, errs := firing(made, it.Name)
			wrong = append(wrong, errs...)
			if len(want) == 0 {
				silent[it.Name] = true
			} else {
				fired[it.Name] = true
			}
			if strings.Join(want, " ") != strings.Join(got, " ") {
				wrong = append(wrong, fmt.Errorf("%s after %s: want %v, got %v", it.Name, at, want, got))
			}
		}
	}
	return errors.Join(wrong...)
}

// fill writes the series, each value one interval after the one before.
func (u *unit) fill(store *store) error {
	var samples []sample
	for _, it := range u.Series {
		named, values, err := parser.ParseSeriesDesc(it.Series + " " + it.Values)
		if err != nil {
			return fmt.Errorf("%s: %w", it.Series, err)
		}
		for index, value := range values {
			if !value.Omitted {
				at := time.Duration(index) * time.Duration(u.Interval)
				samples = append(samples, sample{labels: named, at: at.Milliseconds(), value: value.Value})
			}
		}
	}
	// In the order of time, so that nothing comes too late.
	sort.SliceStable(samples, func(i, j int) bool { return samples[i].at < samples[j].at })
	return store.add(samples)
}

func (u *unit) groups(all *rulefmt.RuleGroups, store *store) ([]*rules.Group, error) {
	options := &rules.ManagerOptions{
		ExternalURL: &url.URL{},
		Context:     context.Background(),
		QueryFunc:   rules.EngineQueryFunc(store.engine, store.db),
		NotifyFunc:  func(context.Context, string, ...*rules.Alert) {},
		Appendable:  store.db,
		Queryable:   store.db,
		Logger:      slog.New(slog.DiscardHandler),
	}
	// It fills what is left out.
	rules.NewManager(options)
	var made []*rules.Group
	for _, group := range all.Groups {
		var inside []rules.Rule
		for _, it := range group.Rules {
			expression, err := parser.ParseExpr(it.Expr)
			if err != nil {
				return nil, err
			}
			inside = append(inside, rules.NewAlertingRule(
				it.Alert, expression, time.Duration(it.For), time.Duration(it.KeepFiringFor),
				labels.FromMap(it.Labels), labels.FromMap(it.Annotations), labels.EmptyLabels(), "", true, options.Logger,
			))
		}
		made = append(made, rules.NewGroup(rules.GroupOptions{
			Name: group.Name, File: "rules", Interval: time.Duration(group.Interval), Rules: inside, Opts: options,
		}))
	}
	return made, nil
}

// firing says the labels of what an alert fires for, without its name and severity, and what is wrong with its words.
func firing(groups []*rules.Group, name string) (found []string, wrong []error) {
	known := false
	for _, group := range groups {
		for _, it := range group.AlertingRules() {
			if it.Name() != name {
				continue
			}
			known = true
			if err := it.LastError(); err != nil {
				wrong = append(wrong, err)
			}
			for _, alert := range it.ActiveAlerts() {
				if alert.State != rules.StateFiring {
					continue
				}
				told := labels.NewBuilder(alert.Labels).Del("alertname", "severity").Labels()
				found = append(found, told.String())
				alert.Annotations.Range(func(word labels.Label) {
					if strings.Contains(word.Value, "<error") || strings.Contains(word.Value, "<no value>") {
						wrong = append(wrong, fmt.Errorf("%s: %s: %s", name, word.Name, word.Value))
					}
				})
			}
		}
	}
	if !known {
		wrong = append(wrong, fmt.Errorf("%s: there is no such alert", name))
	}
	sort.Strings(found)
	return found, wrong
}
