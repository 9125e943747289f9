package satellite

import (
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/satellite/meta"
)

// TestCensus counts a node that fails, its slots that are rebuilt, and the hours
// that all nodes were there.
func TestCensus(t *testing.T) {
	w := newTown(t, 10)
	w.fill(100)
	w.keys = append(w.keys, newKeys(t, 4)...)
	w.pass(time.Minute)
	w.claim()
	w.repair()
	must(t, w.takeCensus(t.Context())) // from here on
	slots := w.held(0)
	w.away[0] = true
	w.pass(w.config.OfflineGrace + time.Second)
	must(t, w.takeCensus(t.Context()))
	want := meta.Census{Hours: 10, Failures: 1}
	if c, err := w.meta.Census(t.Context()); err != nil || c != want {
		t.Fatalf("%+v, %v, want %+v", c, err, want)
	}
	must(t, w.takeCensus(t.Context())) // nothing counts twice
	w.repair()
	for i := 10; i < 14; i++ { // the new holders have nothing yet
		for _, g := range w.groups.of(w.keys[i].ID()) {
			w.have[townSlot{g.ID, i}] = seqset.Set{}
		}
	}
	w.claim()
	w.repair()
	m, err := (&adminServer{Satellite: w.Satellite}).Durability(t.Context(), &pb.DurabilityRequest{})
	must(t, err)
	if len(m.Schemes) != 1 || m.Failures != 1 || m.NodeHours != 10 || m.Grace != w.config.OfflineGrace.Seconds() || m.Rebuilt != 0 {
		t.Errorf("%v", m)
	}
	u := m.Schemes[0]
	if share := float64(slots) / float64(u.Groups); u.Scheme != testScheme.String() || u.ShortShare != share || u.Segments != 100*uint64(u.Groups) {
		t.Errorf("%v, want a share of %g", u, share)
	}
	clear(w.have)
	w.pass(time.Minute)
	w.claim()
	w.repair()
	c, err := w.meta.Census(t.Context())
	must(t, err)
	if c.Failures != 1 || c.Rebuilt != uint32(slots) || c.Seconds < 60*c.Rebuilt || c.Seconds > 70*c.Rebuilt {
		t.Errorf("%+v after %d slots were rebuilt in a minute each", c, slots)
	}
	if share := w.repairer.short(testScheme.String()); share != 0 {
		t.Errorf("a share of %g lacks shards", share)
	}
}
