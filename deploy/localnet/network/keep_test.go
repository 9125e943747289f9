package network_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/deploy/localnet/network"
	"github.com/cairnstorage/cairn/proto/observe"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite"
	"github.com/cairnstorage/cairn/storagenode"
	"github.com/cairnstorage/cairn/uplink"
)

// startKept is a network whose satellite audits all the time and keeps deleted
// entries for seconds only.
func startKept(t *testing.T) *watched {
	t.Helper()
	w := &watched{t: t, log: &logBuffer{}}
	logger, err := observe.NewLogger(w.log, "json", "info")
	w.must(err)
	w.Network, err = network.Start(t.Context(), network.Config{
		Dir: shortDir(t), Nodes: nodes, Logger: logger,
		Satellite: func(c *satellite.Config) {
			c.Metrics, c.AuditInterval, c.Tombstones = "127.0.0.1:0", 200*time.Millisecond, 2*time.Second
		},
		Node: func(_ int, c *storagenode.Config) { c.Metrics = "127.0.0.1:0" },
	})
	w.must(err)
	t.Cleanup(func() { w.Close() })
	return w
}

func (w *watched) put(p *uplink.Project, key string, size int) {
	w.t.Helper()
	u, err := p.Upload(w.t.Context(), bucket, key, uplink.UploadOptions{Size: int64(size)})
	w.must(err)
	_, err = io.CopyN(u, rand.NewChaCha8([32]byte{byte(size)}), int64(size))
	w.must(err)
	_, err = u.Commit(w.t.Context())
	w.must(err)
}

// agrees verifies until the metadata and the nodes agree, and every shard that
// should be there is.
func (w *watched) agrees(what string, shards uint64) {
	w.t.Helper()
	// What nodes have not followed yet is different for as long as they take.
	w.await("nodes to follow "+what, func() bool { return w.ofSatellite().Sum("cairn_satellite_nodes_behind_entries") == 0 })
	var outcome string
	w.await(what, func() bool {
		e, err := w.Verify(w.t.Context(), true)
		w.must(err)
		outcome = fmt.Sprintf("%s: %v", what, e)
		if slices.ContainsFunc(e.Differences, func(d *pb.Difference) bool { return !waitsForClaim(d) }) {
			w.t.Fatal(outcome)
		}
		return len(e.Differences) == 0 && e.Shards == shards && e.Lacking == 0 && e.Leaves >= shards && e.Slots == 4*nodes
	})
}

// waitsForClaim tells whether a node only cannot say yet what it holds, as after a
// restart until it has claimed that anew.
func waitsForClaim(d *pb.Difference) bool {
	return d.Kind == pb.DifferenceKind_DIFFERENCE_KIND_UNPROVED && strings.HasSuffix(d.Detail, order.Unavailable.String())
}

// TestNetworkAgrees has the metadata and the nodes agree whatever happens, and
// no honest node fail an audit: also one that was away for longer than what was
// deleted is kept.
func TestNetworkAgrees(t *testing.T) {
	w := startKept(t)
	access, err := w.Grant(t.Context(), "demo", passphrase)
	w.must(err)
	p, err := uplink.Open(t.Context(), access, uplink.WithLogger(slog.New(slog.DiscardHandler)))
	w.must(err)
	defer p.Close()
	_, err = p.CreateBucket(t.Context(), bucket)
	w.must(err)
	for i := range 6 {
		w.put(p, fmt.Sprint(i), 500_000+i)
	}
	w.agrees("after uploads", 6*nodes)
	w.must(w.StopNode(3))
	w.remove(p, "0", "1", "2")
	before := strings.Count(w.log.String(), "trimmed journals")
	w.await("the journals to be trimmed", func() bool { return strings.Count(w.log.String(), "trimmed journals") > before })
	w.must(w.StartNode(t.Context(), 3))
	w.must(w.AwaitNodes(t.Context(), nodes))
	w.agrees("after a node was away for long", 3*nodes)
	w.put(p, "6", 700_000)
	w.remove(p, "3")
	w.agrees("at last", 3*nodes)
	w.await("audits", func() bool {
		return w.ofSatellite().Sum("cairn_satellite_audit_challenges_total", "verdict", "proved") > 500
	})
	for _, verdict := range []string{"missing", "wrong"} {
		if n := w.ofSatellite().Sum("cairn_satellite_audit_challenges_total", "verdict", verdict); n > 0 {
			t.Errorf("%v challenges ended with the verdict %s", n, verdict)
		}
	}
}

func (w *watched) remove(p *uplink.Project, keys ...string) {
	w.t.Helper()
	for _, key := range keys {
		w.must(p.Delete(context.WithoutCancel(w.t.Context()), bucket, key))
	}
}
