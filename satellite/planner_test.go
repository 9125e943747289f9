package satellite

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

const roomy = 1 << 40

func TestPlanAndRestart(t *testing.T) {
	f := newFleet(t)
	f.checkIn(9, roomy)
	must(t, f.plan(t.Context()))
	if all, _ := f.counts(); all != 0 {
		t.Fatalf("9 nodes form %d groups", all)
	}
	f.checkIn(10, roomy)
	must(t, f.plan(t.Context()))
	must(t, f.plan(t.Context()))
	if all, writable := f.counts(); all != 4 || writable != 4 {
		t.Fatalf("10 nodes form %d groups, %d writable", all, writable)
	}
	before, err := f.get(3)
	must(t, err)
	for i := range 10 {
		if n := len(f.of(nodeNumber(i))); n != 4 {
			t.Errorf("node %d is in %d groups", i, n)
		}
	}
	f.restart(f.key)
	after, err := f.get(3)
	must(t, err)
	if fmt.Sprint(before.Nodes) != fmt.Sprint(after.Nodes) || !before.Issued.Equal(after.Issued) ||
		string(before.record.Body) != string(after.record.Body) {
		t.Error("a restart changed a group")
	}
	if all, writable := f.counts(); all != 4 || writable != 0 {
		t.Errorf("after a restart there are %d groups, %d writable", all, writable)
	}
	f.checkIn(10, roomy)
	must(t, f.plan(t.Context()))
	if all, writable := f.counts(); all != 4 || writable != 4 {
		t.Errorf("when the nodes are back there are %d groups, %d writable", all, writable)
	}
	_, err = f.get(5)
	wantError(t, "unknown group", err, satclient.ErrGroupNotFound)
}

func TestForPut(t *testing.T) {
	f := newFleet(t)
	refused := func(when, words string, exclude ...uint32) {
		t.Helper()
		f.time = f.time.Add(weightAge)
		_, err := f.forPut(exclude)
		wantError(t, when, err, satclient.ErrTooFewNodes)
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %q does not say %q", when, err, words)
		}
	}
	refused("no nodes", "0 of the 10 storage nodes")
	f.checkIn(7, roomy)
	refused("too few nodes", "7 of the 10 storage nodes needed for scheme 4/6/8/10 are online")
	f.checkIn(10, roomy)
	refused("not planned", "no placement group could be formed of the 10")
	must(t, f.plan(t.Context()))
	hits := map[uint32]int{}
	for range 200 {
		g, err := f.forPut(nil)
		must(t, err)
		hits[g.ID]++
	}
	if len(hits) != 4 {
		t.Errorf("groups chosen: %v", hits)
	}
	for range 20 {
		g, err := f.forPut([]uint32{1, 2, 4})
		must(t, err)
		if g.ID != 3 {
			t.Fatalf("group %d was chosen, though excluded", g.ID)
		}
	}
	refused("all excluded", "all 4 placement groups were tried", 1, 2, 3, 4)
	f.registry.disconnected(nodeNumber(0))
	f.registry.disconnected(nodeNumber(1))
	f.time = f.time.Add(weightAge)
	_, err := f.forPut(nil)
	must(t, err)
	f.registry.disconnected(nodeNumber(2))
	refused("too few left", "7 of 10 storage nodes of the best placement group are online, 8 are needed")
	f.checkIn(10, minRoom-1)
	refused("full", "0 of 10 storage nodes of the best placement group have room")
	f.checkIn(10, minRoom)
	f.time = f.time.Add(weightAge)
	_, err = f.forPut(nil)
	must(t, err)
}

// TestAnotherScheme plans anew for it; groups of the old one serve until then.
func TestAnotherScheme(t *testing.T) {
	f := newFleet(t)
	f.checkIn(10, roomy)
	must(t, f.plan(t.Context()))
	f.restart(f.key)
	f.scheme = erasure.Scheme{Required: 6, RepairBelow: 7, Success: 9, Total: 12}
	f.checkIn(10, roomy)
	must(t, f.plan(t.Context()))
	g, err := f.forPut(nil)
	must(t, err)
	if g.Scheme != testScheme {
		t.Errorf("chosen scheme %v", g.Scheme)
	}
	f.checkIn(12, roomy)
	must(t, f.plan(t.Context()))
	f.time = f.time.Add(weightAge)
	for range 20 {
		g, err := f.forPut(nil)
		must(t, err)
		if g.Scheme != f.scheme {
			t.Fatalf("chosen scheme %v", g.Scheme)
		}
	}
	f.restart(f.key)
	f.groups.scheme = erasure.Scheme{}
	must(t, openGroups(t.Context(), f.groups, DefaultScheme))
	if f.scheme.Total != 12 {
		t.Errorf("after a restart the scheme is %v", f.scheme)
	}
}

// TestGroupsSettle has nodes come one by one: they are planned together once
// they have settled, or when it takes too long.
func TestGroupsSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.keepPlanning(ctx, time.Second) }()
		count := func() int {
			synctest.Wait()
			all, _ := f.counts()
			return all
		}
		for i := range 12 {
			must(t, f.registry.checkIn(ctx, nodeNumber(i), checkInOf(roomy), true))
			time.Sleep(500 * time.Millisecond)
		}
		if n := count(); n != 0 {
			t.Errorf("%d groups before the nodes settled", n)
		}
		time.Sleep(501 * time.Millisecond)
		settled := count()
		if settled == 0 {
			t.Error("no groups after the nodes settled")
		}
		f.time = f.time.Add(3 * time.Second) // all are still online
		for i := range 30 {
			must(t, f.registry.checkIn(ctx, nodeNumber(100+i), checkInOf(roomy), true))
			time.Sleep(500 * time.Millisecond)
		}
		if n := count(); n <= settled {
			t.Error("no groups were planned while nodes kept coming")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
