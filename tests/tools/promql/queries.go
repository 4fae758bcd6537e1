package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
)

type question struct {
	// In the order of time.
	Scrapes []scrape          `json:"scrapes"`
	Queries map[string]string `json:"queries"`
	// Seconds since 1970.
	At int64 `json:"at"`
}

type scrape struct {
	// Seconds since 1970.
	At int64 `json:"at"`
	// What a scrape adds.
	Labels map[string]string `json:"labels"`
	Text   string            `json:"text"`
}

// countQueries says, as JSON on standard output, how many series with a number each query gives.
func countQueries(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var asked question
	if err := json.Unmarshal(text, &asked); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	store, err := newStore()
	if err != nil {
		return err
	}
	defer store.close()
	for _, it := range asked.Scrapes {
		samples, err := it.samples()
		if err != nil {
			return fmt.Errorf("scrape at %d: %w", it.At, err)
		}
		if err := store.add(samples); err != nil {
			return err
		}
	}
	counts := map[string]int{}
	var wrong []error
	for name, expression := range asked.Queries {
		count, err := store.count(expression, time.Unix(asked.At, 0))
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %s: %w", name, expression, err))
		}
		counts[name] = count
	}
	if err := json.NewEncoder(os.Stdout).Encode(counts); err != nil {
		return err
	}
	return errors.Join(wrong...)
}

func (s *store) count(expression string, at time.Time) (int, error) {
	query, err := s.engine.NewInstantQuery(context.Background(), s.db, nil, expression, at)
	if err != nil {
		return 0, err
	}
	defer query.Close()
	result := query.Exec(context.Background())
	if result.Err != nil {
		return 0, result.Err
	}
	switch it := result.Value.(type) {
	case promql.Vector:
		numbers := 0
		for _, sample := range it {
			if !math.IsNaN(sample.F) {
				numbers++
			}
		}
		return numbers, nil
	case promql.Scalar:
		return 1, nil
	default:
		return 0, fmt.Errorf("it gives a %s", result.Value.Type())
	}
}

// samples reads what was scraped, with what a scrape adds, and that the target was up.
func (s *scrape) samples() ([]sample, error) {
	at := s.At * 1000
	read, err := textparse.New([]byte(s.Text), "application/openmetrics-text", "", false, true, false, labels.NewSymbolTable())
	if err != nil {
		return nil, err
	}
	samples := []sample{{labels: s.told(labels.FromStrings(labels.MetricName, "up")), at: at, value: 1}}
	for {
		entry, err := read.Next()
		if errors.Is(err, io.EOF) {
			return samples, nil
		}
		if err != nil {
			return nil, err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		var named labels.Labels
		read.Labels(&named)
		_, _, value := read.Series()
		samples = append(samples, sample{labels: s.told(named), at: at, value: value})
	}
}

func (s *scrape) told(own labels.Labels) labels.Labels {
	builder := labels.NewBuilder(own)
	for name, value := range s.Labels {
		builder.Set(name, value)
	}
	return builder.Labels()
}
