package uplink_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// TestPackStopsAtEveryStep ends a pack before and after each call to the
// satellite: by the end of its context, as if the uplink died there, or by an
// answer that is lost. Either all objects are there or none is, none is said to
// be there that is not, and no segment counts that no object refers to.
func TestPackStopsAtEveryStep(t *testing.T) {
	onNetwork(t)
	admin, done, err := satellite.DialAdmin(t.Context(), shared.net.SatelliteDir())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	live := func() (n uint64) {
		t.Helper()
		groups, err := admin.ListGroups(t.Context(), &pb.ListGroupsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range groups.Groups {
			n += g.Segments
		}
		return n
	}
	nothing := func(string) error { return nil }
	at := func(step string, err error, times int32, do func()) func(string) error {
		var left atomic.Int32
		left.Store(times)
		return func(call string) error {
			if call != step || left.Add(-1) < 0 {
				return nil
			}
			do()
			return err
		}
	}
	for _, c := range []struct {
		name          string
		before, after func(stop func()) func(string) error
		there         bool // afterwards
		told          bool // that they are
	}{
		{name: "no lease", before: func(stop func()) func(string) error { return at("Lease", context.Canceled, 1, stop) }},
		{name: "no lease for now", before: func(func()) func(string) error { return at("Lease", satclient.ErrUnavailable, 1, func() {}) }, there: true, told: true},
		{name: "stored, not committed", before: func(stop func()) func(string) error { return at("CommitObjects", context.Canceled, 1, stop) }},
		{name: "refused", before: func(func()) func(string) error { return at("CommitObjects", satclient.ErrReceipts, 1, func() {}) }},
		{name: "committed, not told", after: func(stop func()) func(string) error { return at("CommitObjects", context.Canceled, 1, stop) }, there: true},
		{name: "answers lost", after: func(func()) func(string) error { return at("CommitObjects", satclient.ErrUnavailable, 2, func() {}) }, there: true, told: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := onNetwork(t)
			begun := live()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			before, after := nothing, nothing
			if c.before != nil {
				before = c.before(cancel)
			}
			if c.after != nil {
				after = c.after(cancel)
			}
			stopped := openProject(t, shared.grant)
			if err := stopped.Interpose(shared.grant, before, after); err != nil {
				t.Fatal(err)
			}
			k := stopped.NewPacker(ctx)
			sizes := []int{10, 5000, 70_000}
			s := addAll(t, k, sizes...)
			if err := k.Flush(); (err == nil) != c.told {
				t.Errorf("Flush: %v", err)
			}
			if stored, failed := s.count(); stored+failed != len(sizes) || (stored > 0) != c.told {
				t.Errorf("%d are said to be stored, %d not", stored, failed)
			}
			segments := live() - begun
			for _, size := range sizes {
				if key := fmt.Sprint(size); c.there {
					checkGet(t, p, key, noise(size))
				} else {
					checkAbsent(t, p, key)
				}
			}
			if want := map[bool]uint64{true: 1}[c.there]; segments != want {
				t.Errorf("%d segments count, want %d", segments, want)
			}
		})
	}
}
