package network_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/cairnstorage/cairn/deploy/localnet/network"
	"github.com/cairnstorage/cairn/proto/grant"
	"github.com/cairnstorage/cairn/proto/observe"
	"github.com/cairnstorage/cairn/proto/observe/observetest"
	"github.com/cairnstorage/cairn/proto/observe/scrape"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/satellite"
	"github.com/cairnstorage/cairn/storagenode"
	"github.com/cairnstorage/cairn/uplink"
)

// What must appear in no log.
const (
	bucket     = "holiday-pictures"
	passphrase = "correct horse battery staple"
)

var objects = map[string]int{"secret-plans/large": 3_000_000, "secret-plans/larger": 5_000_000, "note-to-self": 1000}

// watched is a network of which everything can be seen.
type watched struct {
	*network.Network
	t   *testing.T
	log *logBuffer
}

// logBuffer keeps what all parties log.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

const nodes = 10

// shortDir is a directory with a short name: sockets go in there.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "network")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func startWatched(t *testing.T) *watched {
	t.Helper()
	dir := shortDir(t)
	w := &watched{t: t, log: &logBuffer{}}
	logger, err := observe.NewLogger(w.log, "json", "debug")
	if err != nil {
		t.Fatal(err)
	}
	w.Network, err = network.Start(t.Context(), network.Config{
		Dir: dir, Nodes: nodes, Logger: logger,
		Satellite: func(c *satellite.Config) { c.Metrics = "127.0.0.1:0" },
		Node:      func(_ int, c *storagenode.Config) { c.Metrics = "127.0.0.1:0" },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func (w *watched) scrape(address string) *scrape.Metrics {
	w.t.Helper()
	m, err := scrape.Get(w.t.Context(), address)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

func (w *watched) ofSatellite() *scrape.Metrics { return w.scrape(w.Satellite().MetricsAddress()) }

// fleet is what all nodes show.
type fleet []*scrape.Metrics

func (w *watched) ofNodes() (all fleet) {
	w.t.Helper()
	for i := range nodes {
		all = append(all, w.scrape(w.Node(i).MetricsAddress()))
	}
	return all
}

// Sum adds up a metric of all nodes.
func (f fleet) Sum(name string, labels ...string) (sum float64) {
	for _, m := range f {
		sum += m.Sum(name, labels...)
	}
	return sum
}

// await waits until something is so.
func (w *watched) await(what string, is func() bool) {
	w.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("waited too long for %s", what)
		}
	}
}

func (w *watched) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// use uploads and downloads all objects.
func (w *watched) use(p *uplink.Project) {
	w.t.Helper()
	ctx := w.t.Context()
	_, err := p.CreateBucket(ctx, bucket)
	w.must(err)
	for key, size := range objects {
		content := make([]byte, size)
		random := rand.New(rand.NewPCG(1, uint64(size)))
		for i := range content {
			content[i] = byte(random.Uint32())
		}
		u, err := p.Upload(ctx, bucket, key, uplink.UploadOptions{Size: int64(size)})
		w.must(err)
		_, err = u.Write(content)
		w.must(err)
		_, err = u.Commit(ctx)
		w.must(err)
		d, err := p.Download(ctx, bucket, key, uplink.DownloadOptions{})
		w.must(err)
		got, err := io.ReadAll(d)
		w.must(err)
		d.Close()
		if !bytes.Equal(got, content) {
			w.t.Fatalf("%s came back changed", key)
		}
	}
}

// A whole network is used, and what it shows is held up to what was done.
func TestMetrics(t *testing.T) {
	w := startWatched(t)
	access, err := w.Grant(t.Context(), "demo", passphrase)
	w.must(err)
	p, err := uplink.Open(t.Context(), access, uplink.WithLogger(slog.New(slog.DiscardHandler)))
	w.must(err)
	defer p.Close()
	w.use(p)
	var sat *scrape.Metrics
	var all fleet
	w.await("all to be quiet", func() bool {
		sat, all = w.ofSatellite(), w.ofNodes()
		return all.Sum("cairn_node_shards_staged") == 0 && sat.Sum("cairn_satellite_claims") == 4*nodes &&
			sat.Sum("cairn_satellite_nodes_behind_entries") == 0 && sat.Sum("cairn_satellite_groups", "health", "whole") == 4 &&
			sat.Sum("cairn_satellite_nodes_used_bytes") == all.Sum("cairn_node_used_bytes") &&
			all.Sum("cairn_node_healing_shards") == 0
	})
	total, payload := 0, 0.0
	for _, size := range objects {
		total += size
		if size > 4096 {
			payload += float64(size) // the rest lies in the metadata
		}
	}

	observetest.Lint(t, sat, "cairn_satellite_")
	for _, c := range []struct {
		name   string
		want   float64
		labels []string
	}{
		{"cairn_satellite_nodes", nodes, nil},
		{"cairn_satellite_nodes", nodes, []string{"presence", "online"}},
		{"cairn_satellite_groups", 4, []string{"health", "whole"}},
		{"cairn_satellite_groups", 4, nil},
		{"cairn_satellite_groups_writable", 4, nil},
		{"cairn_satellite_projects", 1, nil},
		{"cairn_satellite_objects", float64(len(objects)), nil},
		{"cairn_satellite_object_bytes", float64(total), nil},
		{"cairn_satellite_segments", 2, nil},
		{"cairn_satellite_journal_entries_total", 2, nil},
		{"cairn_satellite_requests_total", float64(len(objects)), []string{"service", "Metadata", "method", "CommitObject", "code", "OK"}},
		{"cairn_satellite_request_duration_seconds", float64(len(objects)), []string{"method", "CommitObject"}},
		{"cairn_satellite_refusing_writes", 0, nil},
		{"cairn_satellite_network_bytes_total", 0, []string{"protocol", wire.Protocol}},
	} {
		if got := sat.Sum(c.name, c.labels...); got != c.want || sat.Count(c.name, c.labels...) == 0 {
			t.Errorf("%s %v is %v, want %v", c.name, c.labels, got, c.want)
		}
	}
	// No payload goes through the satellite, and what it moves has no room for it;
	// audits bring it single leaves.
	moved := sat.Sum("cairn_satellite_network_bytes_total") - sat.Sum("cairn_satellite_network_bytes_total", "protocol", wire.AuditProtocol)
	if moved <= 0 || moved > payload/2 {
		t.Errorf("the satellite moved %v bytes, for %v of payload", moved, payload)
	}

	const expansion = 10.0 / 4
	shards, put := all.Sum("cairn_node_shards"), all.Sum("cairn_node_requests_total", "request", "put", "outcome", "ok")
	healed, synced := all.Sum("cairn_node_healed_shards_total"), all.Sum("cairn_node_synced_shards_total")
	if put < 2*8 || shards != put+healed || shards != synced {
		t.Errorf("%v shards, %v put, %v healed, %v synced", shards, put, healed, synced)
	}
	if missing := all.Sum("cairn_node_shards_missing"); shards+missing != 2*nodes {
		t.Errorf("%v shards and %v missing, want %d in all", shards, missing, 2*nodes)
	}
	if got := all.Sum("cairn_node_put_bytes_total"); got < payload*expansion*8/10 || got > payload*expansion*1.1 {
		t.Errorf("%v bytes put, want about %v", got, payload*expansion)
	}
	if got := all.Sum("cairn_node_get_bytes_total"); got < payload {
		t.Errorf("%v bytes of shards given out for %v of payload", got, payload)
	}
	if got := all.Sum("cairn_node_network_bytes_total", "protocol", wire.Protocol, "direction", "in"); got < payload*expansion*8/10 {
		t.Errorf("%v bytes came in, and %v of shards were put", got, payload*expansion)
	}
	if used := all.Sum("cairn_node_used_bytes"); used < payload {
		t.Errorf("nodes use %v bytes for %v of payload", used, payload)
	}
	if groups, behind := all.Sum("cairn_node_groups"), all.Sum("cairn_node_journal_behind_entries"); groups != 4*nodes || behind != 0 {
		t.Errorf("%v groups, %v entries behind", groups, behind)
	}
	observetest.Lint(t, all[0], "cairn_node_")

	w.must(w.StopNode(3))
	w.await("the node to be missed", func() bool {
		m := w.ofSatellite()
		return m.Sum("cairn_satellite_nodes", "presence", "offline") == 1 && m.Sum("cairn_satellite_groups", "health", "reduced") == 4
	})
	w.must(w.Close())
	checkLog(t, &w.log.text, access)
}

// checkLog checks that every line is JSON and tells no secret.
func checkLog(t *testing.T, log *bytes.Buffer, access string) {
	t.Helper()
	g, err := grant.Parse(access)
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{bucket, passphrase, access, string(g.APIKey), string(g.RootKey[:])}
	for key := range objects {
		secrets = append(secrets, strings.Split(key, "/")...)
	}
	text := log.String()
	for _, s := range secrets {
		if strings.Contains(text, s) {
			t.Errorf("%.40q is logged", s)
		}
	}
	parties := make(map[string]bool)
	for line := range strings.Lines(text) {
		var entry struct{ Time, Level, Msg, Party string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Time == "" || entry.Level == "" || entry.Msg == "" {
			t.Fatalf("line of the log %q: %v", line, err)
		}
		parties[entry.Party] = true
	}
	if len(parties) != 1+nodes {
		t.Errorf("%d parties have logged, want %d", len(parties), 1+nodes)
	}
}

// The alerts that the document proposes are of metrics that there are. Its tables
// are checked by the roles themselves.
func TestDocumentedAlerts(t *testing.T) {
	text, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllSubmatch(text, -1) {
		known[string(row[1])] = true
	}
	for _, name := range regexp.MustCompile(`cairn_\w+`).FindAll(text, -1) {
		if !known[string(name)] {
			t.Errorf("there is no metric %s", name)
		}
	}
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	_, alerts, ok := strings.Cut(string(text), "## Alerts worth having\n\n```yaml\n")
	alerts, _, closed := strings.Cut(alerts, "```")
	if !ok || !closed {
		t.Fatal("there are no alerts")
	}
	decoder := yaml.NewDecoder(strings.NewReader(alerts))
	decoder.KnownFields(true)
	if err := decoder.Decode(&rules); err != nil {
		t.Fatal(err)
	}
	if len(rules.Groups) != 1 || len(rules.Groups[0].Rules) < 10 {
		t.Fatalf("alerts %+v", rules)
	}
	for _, r := range rules.Groups[0].Rules {
		if r.Alert == "" || r.Expr == "" || r.Annotations["summary"] == "" || strings.Count(r.Expr, "(") != strings.Count(r.Expr, ")") {
			t.Errorf("alert %+v", r)
		}
	}
}
