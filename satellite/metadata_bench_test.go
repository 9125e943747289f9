package satellite

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/kv/badgerkv"
	"github.com/cairnstorage/cairn/satellite/meta"
)

// BenchmarkCommit commits objects over libp2p into a store on disk.
func BenchmarkCommit(b *testing.B) {
	for _, segments := range []int{0, 1} {
		for _, writers := range []int{1, 16} {
			b.Run(fmt.Sprintf("segments=%d/writers=%d", segments, writers), func(b *testing.B) {
				t := newServedBench(b)
				store, err := badgerkv.Open(badgerkv.Config{Dir: b.TempDir(), Logger: slog.New(slog.DiscardHandler)})
				must(b, err)
				defer store.Close()
				if t.meta, err = meta.Open(context.Background(), store, meta.Config{Satellite: t.key.ID()}); err != nil {
					b.Fatal(err)
				}
				t.service.meta, t.service.verifier.meta = t.meta, t.meta
				t.project, t.apiKey = t.newProject("durable")
				t.client = t.newClient(t.apiKey)
				g, err := t.nodes.get(1)
				must(b, err)
				t.putGroup(g)
				t.createBucket()
				requests := make([]*pb.CommitObjectRequest, b.N)
				for i := range requests {
					requests[i] = t.commit(fmt.Sprint("object", i), segments)
					if segments == 0 {
						requests[i].Inline, requests[i].Size = make([]byte, 1000), 984
					}
				}
				var next atomic.Int64
				b.SetParallelism(max(1, writers/2))
				b.ReportAllocs()
				b.ResetTimer()
				b.RunParallel(func(p *testing.PB) {
					for p.Next() {
						if _, err := t.client.CommitObject(context.Background(), requests[next.Add(1)-1]); err != nil {
							b.Error(err)
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
			})
		}
	}
}
