package scrape

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

const text = `# TYPE requests_total counter
requests_total{code="ok",method="get"} 5
requests_total{code="ok",method="put"} 7
requests_total{code="full",method="put"} 1
# TYPE free_bytes gauge
free_bytes -3
# TYPE took_seconds histogram
took_seconds_bucket{le="1"} 2
took_seconds_bucket{le="+Inf"} 4
took_seconds_sum 100
took_seconds_count 4
`

func TestGet(t *testing.T) {
	status, body := http.StatusOK, text
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			status = http.StatusNotFound
		}
		w.WriteHeader(status)
		w.Write([]byte(body))
	}))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	m, err := Get(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"free_bytes", "requests_total", "took_seconds"}; !slices.Equal(m.Names(), want) {
		t.Errorf("names %v", m.Names())
	}
	for _, c := range []struct {
		name   string
		labels []string
		sum    float64
		count  int
	}{
		{"requests_total", nil, 13, 3},
		{"requests_total", []string{"code", "ok"}, 12, 2},
		{"requests_total", []string{"method", "put", "code", "ok"}, 7, 1},
		{"requests_total", []string{"code", "get"}, 0, 0},
		{"free_bytes", nil, -3, 1},
		{"took_seconds", nil, 4, 1},
		{"none", nil, 0, 0},
	} {
		if sum, count := m.Sum(c.name, c.labels...), m.Count(c.name, c.labels...); sum != c.sum || count != c.count {
			t.Errorf("%s %v: %v in %d samples, want %v in %d", c.name, c.labels, sum, count, c.sum, c.count)
		}
	}
	body = "no metrics{"
	if _, err := Get(t.Context(), address); err == nil {
		t.Error("what is no metrics is read")
	}
	body, status = text, http.StatusServiceUnavailable
	if _, err := Get(t.Context(), address); err == nil {
		t.Error("a failure is read as metrics")
	}
}
