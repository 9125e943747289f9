package satellite

import (
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// TestLeaseRate: nodes remember every order limit that is used, so a project
// gets no more of them than all nodes have room for.
func TestLeaseRate(t *testing.T) {
	b := newBench(t)
	l := b.service.leases
	u := use{project: 1, uplink: ident.ID{31: 1}, group: 1, epoch: 1, action: order.ActionGet}
	must(t, second(l.limit(u)))
	for range leaseBurst + 10 { // the same again costs nothing
		must(t, second(l.limit(u)))
	}
	next := func() error {
		u.uplink[0]++
		if u.uplink[0] == 0 {
			u.uplink[1]++
		}
		return second(l.limit(u))
	}
	for range leaseBurst - 1 {
		must(t, next())
	}
	wantError(t, "one too many", next(), satclient.ErrBusy)
	other := u
	other.project++
	must(t, second(l.limit(other)))
	b.now = b.now.Add(2 * time.Second)
	for range 2 * leaseRate {
		must(t, next())
	}
	wantError(t, "one too many again", next(), satclient.ErrBusy)
}

// TestLeaseReuse: an order limit is given out again for a while, and for one use only.
func TestLeaseReuse(t *testing.T) {
	b := newBench(t)
	l := b.service.leases
	u := use{project: 1, uplink: ident.ID{31: 1}, group: 1, epoch: 1, action: order.ActionGet}
	get := func(u use) order.Limit {
		t.Helper()
		signed, err := l.limit(u)
		must(t, err)
		limit, err := order.OpenLimit(signed, b.key.ID())
		must(t, err)
		return *limit
	}
	first := get(u)
	b.now = b.now.Add(reuse - time.Second)
	if again := get(u); again != first {
		t.Errorf("soon after, another: %+v, %+v", first, again)
	}
	seen := map[order.Serial]bool{first.Serial: true}
	for what, change := range map[string]func(*use){
		"project": func(u *use) { u.project++ },
		"uplink":  func(u *use) { u.uplink[0]++ },
		"group":   func(u *use) { u.group++ },
		"epoch":   func(u *use) { u.epoch++ },
		"action":  func(u *use) { u.action = order.ActionPut },
	} {
		other := u
		change(&other)
		limit := get(other)
		if seen[limit.Serial] || limit.Uplink != other.uplink || limit.Group != other.group || limit.Epoch != other.epoch || limit.Action != other.action {
			t.Errorf("another %s: %+v", what, limit)
		}
		seen[limit.Serial] = true
	}
	b.now = b.now.Add(time.Second)
	if later := get(u); seen[later.Serial] || !later.Expires.Equal(b.now.Add(order.LimitLife)) {
		t.Errorf("later: %+v", later)
	}
}
