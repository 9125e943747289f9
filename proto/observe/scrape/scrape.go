// Package scrape reads what a daemon serves at /metrics, as Prometheus would:
// for tests, and for scripts that measure a running network.
package scrape

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// maxText is the most that is read, in bytes.
const maxText = 64 << 20

// Metrics is one scrape.
type Metrics struct {
	Text     string // as it was served
	families map[string]*dto.MetricFamily
}

// Get scrapes the daemon whose metrics are served at address, a host:port.
func Get(ctx context.Context, address string) (*Metrics, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxText))
	if err != nil {
		return nil, fmt.Errorf("scrape %s: %w", address, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("scrape %s: %s", address, res.Status)
	}
	return Parse(string(text))
}

// Parse reads text as it is served.
func Parse(text string) (*Metrics, error) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("scrape: %w", err)
	}
	return &Metrics{Text: text, families: families}, nil
}

// Names are those of all metrics with samples, in order.
func (m *Metrics) Names() []string {
	var names []string
	for name := range m.families {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Sum adds up the samples of a metric that have the labels given, each as a name
// and a value. Of a histogram it counts the observations. Without any sample it
// is 0; see Count.
func (m *Metrics) Sum(name string, labels ...string) float64 {
	sum := 0.0
	m.each(name, labels, func(s *dto.Metric) {
		sum += s.GetGauge().GetValue() + s.GetCounter().GetValue() + float64(s.GetHistogram().GetSampleCount())
	})
	return sum
}

// Count is how many samples of a metric have the labels given.
func (m *Metrics) Count(name string, labels ...string) (n int) {
	m.each(name, labels, func(*dto.Metric) { n++ })
	return n
}

func (m *Metrics) each(name string, labels []string, do func(*dto.Metric)) {
	if len(labels)%2 != 0 {
		panic("scrape: labels are names and values")
	}
	family := m.families[name]
	if family == nil {
		return
	}
	for _, s := range family.Metric {
		if hasLabels(s.Label, labels) {
			do(s)
		}
	}
}

func hasLabels(have []*dto.LabelPair, want []string) bool {
	for pair := range slices.Chunk(want, 2) {
		if !slices.ContainsFunc(have, func(l *dto.LabelPair) bool { return l.GetName() == pair[0] && l.GetValue() == pair[1] }) {
			return false
		}
	}
	return true
}
