package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/cairnstorage/cairn/proto/transport"
)

// stats is what a subsystem might count.
type stats struct {
	shards int
	bytes  uint64
	by     map[string]int
	took   *Latencies
}

func collector(read func() (stats, error)) *Collector {
	return Of(read,
		Gauge("test_shards", "Shards held.", func(s stats) int { return s.shards }),
		Counter("test_bytes_total", "Bytes taken in.", func(s stats) uint64 { return s.bytes }),
		Gauges("test_free_bytes", "Free space.", []string{"dir", "kind"}, func(s stats, emit func(int, ...string)) {
			for _, dir := range []string{"a", "b\"\n"} {
				emit(s.by[dir], dir, "disk")
			}
		}),
		Counters("test_requests_total", "Requests.", []string{"code"}, func(s stats, emit func(float64, ...string)) { emit(1.5, "ok") }),
		Histograms("test_duration_seconds", "Time taken.", []string{"method"}, func(s stats, emit func(Histogram, ...string)) {
			emit(s.took.Histogram(), "put")
		}),
	)
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

// serve runs a Server for the test and returns where it is and what it logs.
func serve(t *testing.T, c Config, all ...*Collector) (url string, log *lockedBuffer, stop func()) {
	t.Helper()
	log = &lockedBuffer{}
	c.Logger = slog.New(slog.NewTextHandler(log, nil))
	if c.Address == "" {
		c.Address = "127.0.0.1:0"
	}
	s, err := Listen(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(ctx, all)
	}()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return "http://" + s.Address(), log, stop
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(raw)
}

func TestMetrics(t *testing.T) {
	took := &Latencies{}
	for _, d := range []time.Duration{0, time.Millisecond, time.Millisecond + 1, 2 * time.Second, time.Hour} {
		took.Observe(d)
	}
	url, log, _ := serve(t, Config{}, collector(Always(func() stats {
		return stats{shards: 3, bytes: 1 << 60, by: map[string]int{"a": -7}, took: took}
	})))
	status, body := get(t, url+"/metrics")
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, body)
	}
	for _, line := range []string{
		"# HELP test_shards Shards held.", "# TYPE test_shards gauge", "test_shards 3",
		"# TYPE test_bytes_total counter", "test_bytes_total 1.152921504606847e+18",
		`test_free_bytes{dir="a",kind="disk"} -7`, `test_free_bytes{dir="b\"\n",kind="disk"} 0`,
		`test_requests_total{code="ok"} 1.5`,
		"# TYPE test_duration_seconds histogram",
		`test_duration_seconds_bucket{method="put",le="0.001"} 2`, `test_duration_seconds_bucket{method="put",le="0.0025"} 3`,
		`test_duration_seconds_bucket{method="put",le="1"} 3`, `test_duration_seconds_bucket{method="put",le="2.5"} 4`,
		`test_duration_seconds_bucket{method="put",le="30"} 4`, `test_duration_seconds_bucket{method="put",le="+Inf"} 5`,
		`test_duration_seconds_count{method="put"} 5`, `test_duration_seconds_sum{method="put"} 3602.002000001`,
	} {
		if !strings.Contains("\n"+body, "\n"+line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	for _, name := range []string{"go_goroutines", "process_cpu_seconds_total"} {
		if !strings.Contains(body, "\n"+name+" ") {
			t.Errorf("no %s", name)
		}
	}
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	if status, _ := get(t, url+"/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("profiles that were not asked for: %d", status)
	}
	if !strings.Contains(log.String(), url+"/metrics") || strings.Contains(log.String(), "WARN") {
		t.Errorf("log: %s", log)
	}
}

// What cannot be read does not keep the rest from being served.
func TestFailingRead(t *testing.T) {
	url, log, _ := serve(t, Config{}, collector(func() (stats, error) { return stats{}, errors.New("disk is away") }),
		Of(Always(func() int { return 1 }), Gauge("test_fine", "Fine.", func(n int) int { return n })))
	status, body := get(t, url+"/metrics")
	if status != http.StatusOK || !strings.Contains(body, "\ntest_fine 1\n") || strings.Contains(body, "test_shards") {
		t.Errorf("status %d: %s", status, body)
	}
	if !strings.Contains(log.String(), "disk is away") {
		t.Errorf("log: %s", log)
	}
}

// A sample with labels that do not belong is left out and logged.
func TestWrongLabels(t *testing.T) {
	url, log, _ := serve(t, Config{}, Of(Always(func() int { return 1 }),
		Gauges("test_wrong", "Wrong.", []string{"a"}, func(n int, emit func(int, ...string)) { emit(n, "x", "y") }),
		Gauge("test_fine", "Fine.", func(n int) int { return n })))
	if _, body := get(t, url+"/metrics"); !strings.Contains(body, "\ntest_fine 1\n") || !strings.Contains(log.String(), "test_wrong") {
		t.Errorf("metrics: %s\nlog: %s", body, log)
	}
}

func TestSameNameTwice(t *testing.T) {
	one := func() *Collector {
		return Of(Always(func() int { return 1 }), Gauge("test_same", "Same.", func(n int) int { return n }))
	}
	if _, err := NewRegistry([]*Collector{one(), one()}); err == nil {
		t.Error("two metrics of one name are taken")
	}
}

func TestProfiles(t *testing.T) {
	url, log, _ := serve(t, Config{Profiles: true})
	for path, want := range map[string]string{
		"/debug/pprof/": "goroutine", "/debug/pprof/goroutine?debug=1": "goroutine profile", "/debug/pprof/cmdline": "test",
	} {
		if status, body := get(t, url+path); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d, %q", path, status, body)
		}
	}
	if strings.Contains(log.String(), "WARN") {
		t.Errorf("a warning about loopback: %s", log)
	}
	_, log, _ = serve(t, Config{Address: "0.0.0.0:0", Profiles: true})
	eventually(t, func() bool { return strings.Contains(log.String(), "WARN") })
	if _, err := Listen(Config{Profiles: true}); err == nil {
		t.Error("profiles without an address are taken")
	}
}

// eventually waits for what another goroutine is about to do.
func eventually(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited for a minute")
		}
	}
}

// A profile that is being made does not keep the daemon from stopping.
func TestStop(t *testing.T) {
	url, _, stop := serve(t, Config{Profiles: true})
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /debug/pprof/trace?seconds=3600 HTTP/1.1\r\nHost: test\r\n\r\n")
	if _, err := conn.Read(make([]byte, 1)); err != nil { // it has begun
		t.Fatal(err)
	}
	stop()
	if conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); err == nil {
		conn.Close()
		t.Error("it still listens")
	}
}

func TestNowhere(t *testing.T) {
	s, err := Listen(Config{})
	if err != nil || s.Address() != "" {
		t.Errorf("address %q, error %v", s.Address(), err)
	}
	s.Run(t.Context(), nil) // returns
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	taken, err := Listen(Config{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(Config{Address: taken.Address()}); err == nil {
		t.Error("a port that is taken is listened on")
	}
	if err := errors.Join(taken.Close(), taken.Close()); err != nil {
		t.Error(err)
	}
}

func TestNetwork(t *testing.T) {
	s := transport.Stats{Connections: 2, Streams: 5, Traffic: []transport.Traffic{{In: 1}, {Protocol: "/x", In: 10, Out: 20}}}
	url, _, _ := serve(t, Config{}, Network("test", func() transport.Stats { return s }))
	_, body := get(t, url+"/metrics")
	for _, line := range []string{
		"test_connections 2", "test_streams 5",
		`test_network_bytes_total{direction="in",protocol="negotiation"} 1`,
		`test_network_bytes_total{direction="in",protocol="/x"} 10`, `test_network_bytes_total{direction="out",protocol="/x"} 20`,
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
}

func TestTable(t *testing.T) {
	got := Table([]*Collector{collector(nil)})
	want := []string{
		"| metric | type | labels | meaning |", "|---|---|---|---|",
		"| `test_bytes_total` | counter |  | Bytes taken in. |",
		"| `test_duration_seconds` | histogram | `method` | Time taken. |",
		"| `test_free_bytes` | gauge | `dir`, `kind` | Free space. |",
		"| `test_requests_total` | counter | `code` | Requests. |",
		"| `test_shards` | gauge |  | Shards held. |",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

func TestNewLogger(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		for level, lines := range map[string]int{"debug": 4, "info": 3, "warn": 2, "error": 1, "WARN": 2} {
			var out bytes.Buffer
			log, err := NewLogger(&out, format, level)
			if err != nil {
				t.Fatal(err)
			}
			log.Debug("d", "n", 1)
			log.Info("i", "n", 1)
			log.Warn("w", "n", 1)
			log.Error("e", "n", 1)
			if got := strings.Count(out.String(), "\n"); got != lines {
				t.Errorf("%s, %s: %d lines, want %d", format, level, got, lines)
			}
			last := out.String()[strings.LastIndex(strings.TrimSpace(out.String()), "\n")+1:]
			if json.Valid([]byte(last)) != (format == "json") {
				t.Errorf("%s: %s", format, last)
			}
		}
	}
	for _, c := range [][2]string{{"text", "loud"}, {"xml", "info"}, {"", "info"}, {"json", ""}} {
		if _, err := NewLogger(io.Discard, c[0], c[1]); err == nil {
			t.Errorf("format %q, level %q are taken", c[0], c[1])
		}
	}
}
