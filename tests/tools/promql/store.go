package main

import (
	"context"
	"os"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/tsdb"
)

// store is a database in a folder of its own, and an engine that asks it.
type store struct {
	folder string
	db     *tsdb.DB
	engine *promql.Engine
}

func newStore() (*store, error) {
	folder, err := os.MkdirTemp("", "promql-")
	if err != nil {
		return nil, err
	}
	options := tsdb.DefaultOptions()
	options.RetentionDuration = int64(24 * time.Hour / time.Millisecond)
	db, err := tsdb.Open(folder, nil, nil, options, nil)
	if err != nil {
		return nil, err
	}
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples:           1_000_000,
		Timeout:              time.Minute,
		EnableAtModifier:     true,
		EnableNegativeOffset: true,
	})
	return &store{folder: folder, db: db, engine: engine}, nil
}

func (s *store) close() {
	_ = s.db.Close()
	_ = os.RemoveAll(s.folder)
}

type sample struct {
	labels labels.Labels
	at     int64
	value  float64
}

func (s *store) add(samples []sample) error {
	appender := s.db.Appender(context.Background())
	for _, it := range samples {
		if _, err := appender.Append(0, it.labels, it.at, it.value); err != nil {
			return err
		}
	}
	return appender.Commit()
}
