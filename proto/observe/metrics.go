// Package observe is how operators watch a daemon: metrics for Prometheus and
// profiles, on a listener of their own, and logs. It knows neither role.
//
// A subsystem keeps plain counts and gives them as a struct by a method such as
// Stats or Progress. Of makes metrics of that struct when they are scraped, so
// that nothing is counted twice and nothing has to know Prometheus.
package observe

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// A Family is one metric as it follows from a state S.
type Family[S any] struct {
	name, help, kind string
	labels           []string
	// collect gives its samples to emit, in which labels have the order of labels.
	collect func(s S, emit func(sample sample))
}

// sample is one value of a family.
type sample struct {
	value     float64
	histogram *Histogram // instead of value
	labels    []string
}

// The types of metrics, as Prometheus calls them.
const (
	counter   = "counter"
	gauge     = "gauge"
	histogram = "histogram"
)

// Number is any type that a value can have.
type Number interface {
	~int | ~int32 | ~int64 | ~uint | ~uint32 | ~uint64 | ~float64
}

// Gauge is a value that goes up and down.
func Gauge[S any, N Number](name, help string, value func(S) N) Family[S] {
	return single(name, help, gauge, value)
}

// Counter is a value that only grows while the process runs. Its name ends in
// _total.
func Counter[S any, N Number](name, help string, value func(S) N) Family[S] {
	return single(name, help, counter, value)
}

func single[S any, N Number](name, help, kind string, value func(S) N) Family[S] {
	return Family[S]{name: name, help: help, kind: kind, collect: func(s S, emit func(sample)) {
		emit(sample{value: float64(value(s))})
	}}
}

// Gauges is a gauge with labels. each gives all of its values, with the labels'
// values in the order of labels; how many there can be must be bounded.
func Gauges[S any, N Number](name, help string, labels []string, each func(s S, emit func(value N, labels ...string))) Family[S] {
	return many(name, help, gauge, labels, each)
}

// Counters is a counter with labels, otherwise like Gauges.
func Counters[S any, N Number](name, help string, labels []string, each func(s S, emit func(value N, labels ...string))) Family[S] {
	return many(name, help, counter, labels, each)
}

func many[S any, N Number](name, help, kind string, labels []string, each func(s S, emit func(value N, labels ...string))) Family[S] {
	return Family[S]{name: name, help: help, kind: kind, labels: labels, collect: func(s S, emit func(sample)) {
		each(s, func(value N, labels ...string) { emit(sample{value: float64(value), labels: labels}) })
	}}
}

// Histograms is a histogram with labels, otherwise like Gauges.
func Histograms[S any](name, help string, labels []string, each func(s S, emit func(h Histogram, labels ...string))) Family[S] {
	return Family[S]{name: name, help: help, kind: histogram, labels: labels, collect: func(s S, emit func(sample)) {
		each(s, func(h Histogram, labels ...string) { emit(sample{histogram: &h, labels: labels}) })
	}}
}

// A Collector gives the metrics of one subsystem.
type Collector struct {
	rows  []row
	descs []*prometheus.Desc
	read  func(ch chan<- prometheus.Metric)
}

// row is what a Table says of a metric.
type row struct {
	name, help, kind string
	labels           []string
}

// Of is a collector of the state that read returns, which is called once a
// scrape, from any goroutine. When it fails the scrape goes on without these
// metrics, and the error is logged.
func Of[S any](read func() (S, error), families ...Family[S]) *Collector {
	c := &Collector{}
	for _, f := range families {
		c.rows = append(c.rows, row{f.name, f.help, f.kind, f.labels})
		c.descs = append(c.descs, prometheus.NewDesc(f.name, f.help, f.labels, nil))
	}
	c.read = func(ch chan<- prometheus.Metric) {
		s, err := read()
		if err != nil {
			ch <- prometheus.NewInvalidMetric(c.descs[0], err)
			return
		}
		for i, f := range families {
			f.collect(s, func(v sample) { ch <- c.metric(i, v) })
		}
	}
	return c
}

// Always makes a read of a function that does not fail.
func Always[S any](read func() S) func() (S, error) {
	return func() (S, error) { return read(), nil }
}

func (c *Collector) metric(i int, v sample) prometheus.Metric {
	var m prometheus.Metric
	var err error
	switch c.rows[i].kind {
	case histogram:
		m, err = v.histogram.metric(c.descs[i], v.labels)
	case counter:
		m, err = prometheus.NewConstMetric(c.descs[i], prometheus.CounterValue, v.value, v.labels...)
	default:
		m, err = prometheus.NewConstMetric(c.descs[i], prometheus.GaugeValue, v.value, v.labels...)
	}
	if err != nil {
		return prometheus.NewInvalidMetric(c.descs[i], err)
	}
	return m
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) { c.read(ch) }

// NewRegistry is a registry of the metrics given and of those that every Go
// process has (go_… and process_…).
func NewRegistry(all []*Collector) (*prometheus.Registry, error) {
	r := prometheus.NewRegistry()
	known := []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	}
	for _, c := range all {
		known = append(known, c)
	}
	for _, c := range known {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("observe: %w", err)
		}
	}
	return r, nil
}

// Table is what documents say of the metrics, by name, as lines of a table in
// Markdown.
func Table(all []*Collector) []string {
	lines := []string{"| metric | type | labels | meaning |", "|---|---|---|---|"}
	var rows []row
	for _, c := range all {
		rows = append(rows, c.rows...)
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.name, b.name) })
	for _, r := range rows {
		labels := ""
		if len(r.labels) > 0 {
			labels = "`" + strings.Join(r.labels, "`, `") + "`"
		}
		lines = append(lines, fmt.Sprintf("| `%s` | %s | %s | %s |", r.name, r.kind, labels, r.help))
	}
	return lines
}
