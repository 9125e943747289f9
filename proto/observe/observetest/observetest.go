// Package observetest checks what daemons show to those who watch them.
package observetest

import (
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/cairnstorage/cairn/proto/observe"
	"github.com/cairnstorage/cairn/proto/observe/scrape"
)

// Document checks that the table called name in the document at path lists
// exactly these metrics, or with update makes it so.
func Document(t *testing.T, path, name string, update bool, all []*observe.Collector) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- table: "+name+" -->\n", "<!-- end -->\n"
	before, rest, ok := strings.Cut(string(text), begin)
	table, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no table %q", path, name)
	}
	want := strings.Join(observe.Table(all), "\n") + "\n"
	switch {
	case table == want:
	case update:
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("table %q of %s is out of date: run this test with -update", name, path)
	}
}

// Lint checks a scrape against the conventions of Prometheus, and that all
// metrics that are not of every process begin with prefix.
func Lint(t *testing.T, m *scrape.Metrics, prefix string) {
	t.Helper()
	problems, err := promlint.New(strings.NewReader(m.Text)).Lint()
	if err != nil {
		t.Error(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, name := range m.Names() {
		if !strings.HasPrefix(name, prefix) && !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			t.Errorf("%s does not begin with %s", name, prefix)
		}
	}
}
