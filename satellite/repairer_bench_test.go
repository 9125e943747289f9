package satellite

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/kv/memkv"
	"github.com/cairnstorage/cairn/satellite/meta"
)

// BenchmarkRepairOnce looks once at all groups of a large network, of which every
// node lacks ten runs of each journal.
func BenchmarkRepairOnce(b *testing.B) {
	for _, nodes := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			s := bigTown(b, nodes)
			b.ResetTimer()
			for b.Loop() {
				must(b, s.repairer.repairOnce(b.Context()))
			}
			b.StopTimer()
			groups := len(s.groups.all())
			if len(s.repairer.found) != groups || s.repairer.condition(1).Lowest() != 39 {
				b.Fatalf("%d of %d groups were found, the first has %d", len(s.repairer.found), groups, s.repairer.condition(1).Lowest())
			}
			b.ReportMetric(float64(groups), "groups")
		})
	}
}

// bigTown is a satellite with this many nodes and a tenth as many groups of forty.
func bigTown(b *testing.B, nodes int) *Satellite {
	b.Helper()
	now := time.Unix(1_800_000_000, 0)
	c, err := Config{Dir: "none", Now: func() time.Time { return now }, Logger: noLog}.withDefaults()
	must(b, err)
	store, key := memkv.New(), newKey(b)
	s := &Satellite{config: c, key: key, kv: store, now: c.Now, rand: c.Rand, log: c.Logger, started: now}
	s.meta, err = meta.Open(b.Context(), store, meta.Config{Satellite: key.ID(), Now: c.Now})
	must(b, err)
	must(b, s.recall(b.Context()))
	s.settling.end()
	now = now.Add(time.Minute)
	ids := make([]ident.ID, nodes)
	for i := range ids {
		binary.BigEndian.PutUint32(ids[i][:], uint32(i+1))
		n := newNode(meta.Node{ID: ids[i], Addresses: []string{"/ip4/192.0.2.1/tcp/7000"}, Free: roomy, LastSeen: now, FirstSeen: now}, now)
		n.seen, n.connected = now, true
		s.registry.nodes[ids[i]] = n
	}
	s.registry.watch()
	for i := range nodes / 10 {
		g := &group{Group: order.Group{Satellite: key.ID(), ID: uint32(i + 1), Epoch: 1, Scheme: DefaultScheme, Issued: now}}
		for slot := range DefaultScheme.Total {
			g.Nodes = append(g.Nodes, ids[(i*10+slot*7)%nodes])
		}
		must(b, s.meta.PutGroup(b.Context(), meta.Group{ID: g.ID, Epoch: 1, Record: &pb.Signed{Body: []byte{1}}}))
		must(b, store.Update(b.Context(), func(tx kv.Tx) error { // a head without the entries below it
			head := []byte{1}
			for _, n := range []uint64{10_000, 10_000, 10_000 << 20} {
				head = binary.AppendUvarint(head, n)
			}
			return tx.Set(binary.BigEndian.AppendUint32([]byte{'h'}, g.ID), head)
		}))
		s.groups.install(g)
		for slot, id := range g.Nodes {
			claim := &claim{Claim: order.Claim{Node: id, Group: g.ID, Slot: slot, Seq: 10_000}}
			for run := range uint64(10) {
				first := 1 + run*1000 + uint64(slot*20)
				claim.Missing = append(claim.Missing, seqset.Run{First: first, Last: first + 3})
			}
			s.claims.newest[claim.key()] = claim
		}
	}
	return s
}
