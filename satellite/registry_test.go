package satellite

import (
	"crypto/rand"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/kv/memkv"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// fleet is a registry and groups on a store in memory, with a clock.
type fleet struct {
	*groups
	t    *testing.T
	kv   kv.Store
	time time.Time
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{t: t, kv: memkv.New(), time: time.Unix(1_800_000_000, 0)}
	f.restart(newKey(t))
	return f
}

// restart forgets what is in memory only.
func (f *fleet) restart(key ident.Key) {
	f.t.Helper()
	now := func() time.Time { return f.time }
	store, err := meta.Open(f.t.Context(), f.kv, meta.Config{Satellite: key.ID(), Now: now})
	must(f.t, err)
	f.groups = &groups{meta: store, key: key, scheme: testScheme, now: now, rand: rand.Reader, log: noLog}
	f.rule.PerNode = 4
	f.registry = &registry{meta: store, now: now, interval: 3 * time.Second, rule: testRule, log: noLog}
	must(f.t, openRegistry(f.t.Context(), f.registry))
	must(f.t, openGroups(f.t.Context(), f.groups, DefaultScheme))
}

// testRule asks for no vetting.
var testRule = audit.Rule{Grace: time.Hour}

func nodeNumber(i int) ident.ID { return ident.ID{byte(i), byte(i >> 8), 1} }

func checkInOf(free uint64) *pb.CheckInRequest {
	return &pb.CheckInRequest{
		Addresses: []string{"/ip4/192.0.2.1/tcp/7000"}, Capacity: 1 << 40, Used: 5, Free: free, Version: "v1",
	}
}

// checkIn has nodes 0 to n-1 check in.
func (f *fleet) checkIn(n int, free uint64) {
	f.t.Helper()
	for i := range n {
		must(f.t, f.registry.checkIn(f.t.Context(), nodeNumber(i), checkInOf(free), true))
	}
}

func TestOnline(t *testing.T) {
	f := newFleet(t)
	r, id := f.registry, nodeNumber(1)
	check := func(when string, want bool) {
		t.Helper()
		if r.online(id) != want || r.addresses([]ident.ID{id}, false)[0].Online != want || (r.free([]ident.ID{id})[0] >= 0) != want {
			t.Errorf("%s: want online %v", when, want)
		}
	}
	check("never seen", false)
	for interval, lapse := range map[time.Duration]time.Duration{
		3 * time.Second: 9 * time.Second, time.Minute: 3 * time.Minute, time.Millisecond: minLapse,
	} {
		r.interval = interval
		must(t, r.checkIn(t.Context(), id, checkInOf(7), true))
		check("checked in", true)
		f.time = f.time.Add(lapse)
		check("after three intervals", true)
		f.time = f.time.Add(time.Nanosecond)
		check("after more", false)
	}
	must(t, r.checkIn(t.Context(), id, checkInOf(7), true))
	check("checked in again", true)
	r.disconnected(id)
	check("disconnected", false)
	r.disconnected(nodeNumber(2)) // no node
	must(t, r.checkIn(t.Context(), id, checkInOf(7), true))
	check("back", true)
	if known, online := r.counts(); known != 1 || online != 1 {
		t.Errorf("%d of %d online", online, known)
	}
	f.restart(f.key)
	r = f.registry
	check("after a restart", false)
	if got := r.addresses([]ident.ID{id}, false)[0].Addresses; !slices.Equal(got, []string{"/ip4/192.0.2.1/tcp/7000"}) {
		t.Errorf("addresses after a restart: %v", got)
	}
}

// TestComing tells of nodes that come, not of those that stay.
func TestComing(t *testing.T) {
	f := newFleet(t)
	came := func() bool {
		select {
		case <-f.registry.change:
			return true
		default:
			return false
		}
	}
	f.checkIn(3, 7)
	if !came() || came() {
		t.Error("one signal was to come of three new nodes")
	}
	f.checkIn(3, 7)
	if came() {
		t.Error("a signal came of nodes that stayed")
	}
	f.registry.disconnected(nodeNumber(1))
	f.checkIn(3, 7)
	if !came() {
		t.Error("no signal came of a node that came back")
	}
}

func TestCheckInBounds(t *testing.T) {
	f := newFleet(t)
	for name, change := range map[string]func(*pb.CheckInRequest){
		"no address":         func(m *pb.CheckInRequest) { m.Addresses = nil },
		"too many addresses": func(m *pb.CheckInRequest) { m.Addresses = make([]string, maxAddresses+1) },
		"no multiaddr":       func(m *pb.CheckInRequest) { m.Addresses = []string{"192.0.2.1:7000"} },
		"address too long":   func(m *pb.CheckInRequest) { m.Addresses = []string{"/dns4/" + strings.Repeat("a", 300) + "/tcp/1"} },
		"another's address": func(m *pb.CheckInRequest) {
			m.Addresses = []string{"/ip4/192.0.2.1/tcp/1/p2p/" + newKey(t).ID().String()}
		},
		"version too long":  func(m *pb.CheckInRequest) { m.Version = strings.Repeat("v", maxText+1) },
		"operator too long": func(m *pb.CheckInRequest) { m.Operator = strings.Repeat("o", maxText+1) },
		"too many cursors":  func(m *pb.CheckInRequest) { m.Cursors = make([]*pb.Cursor, maxCursors+1) },
	} {
		m := checkInOf(7)
		change(m)
		wantError(t, name, f.registry.checkIn(t.Context(), nodeNumber(1), m, true), satclient.ErrBadRequest)
	}
	if known, _ := f.registry.counts(); known != 0 {
		t.Error("a refused node is known")
	}
	m := checkInOf(1<<64 - 1) // more than int64 holds
	must(t, f.registry.checkIn(t.Context(), nodeNumber(1), m, true))
	if free := f.registry.free([]ident.ID{nodeNumber(1)})[0]; free <= 0 {
		t.Errorf("free is %d", free)
	}
}

// TestRecordsAreKept stores new nodes at once, what matters soon, and mere
// counts seldom or at the end.
func TestRecordsAreKept(t *testing.T) {
	f := newFleet(t)
	id := nodeNumber(1)
	stored := func() meta.Node {
		t.Helper()
		nodes, err := f.meta.Nodes(t.Context())
		must(t, err)
		if len(nodes) != 1 {
			t.Fatalf("%d nodes are stored", len(nodes))
		}
		return nodes[0]
	}
	must(t, f.registry.checkIn(t.Context(), id, checkInOf(7), true))
	first := stored()
	if first.Free != 7 || !first.FirstSeen.Equal(f.time) || first.ID != id {
		t.Errorf("stored %+v", first)
	}
	f.time = f.time.Add(3 * time.Second)
	must(t, f.registry.checkIn(t.Context(), id, checkInOf(6), true))
	must(t, f.registry.store(t.Context(), false))
	if n := stored(); !reflect.DeepEqual(n, first) {
		t.Errorf("stored %+v for a mere count", n)
	}
	m := checkInOf(5)
	m.Addresses = []string{"/ip4/192.0.2.2/tcp/7000"}
	must(t, f.registry.checkIn(t.Context(), id, m, true))
	must(t, f.registry.store(t.Context(), false))
	if n := stored(); n.Addresses[0] != m.Addresses[0] || n.Free != 5 || !n.LastSeen.Equal(f.time) || !n.FirstSeen.Equal(first.FirstSeen) {
		t.Errorf("stored %+v after a move", n)
	}
	f.time = f.time.Add(keepEvery)
	m.Free = 4
	must(t, f.registry.checkIn(t.Context(), id, m, true))
	must(t, f.registry.store(t.Context(), false))
	if n := stored(); n.Free != 4 {
		t.Errorf("stored %+v after a long time", n)
	}
	f.time = f.time.Add(3 * time.Second)
	m.Free = 3
	must(t, f.registry.checkIn(t.Context(), id, m, true))
	must(t, f.registry.store(t.Context(), true))
	if n := stored(); n.Free != 3 {
		t.Errorf("stored %+v at the end", n)
	}
}

// TestNewcomers lets many new nodes in at once, and then some a second.
func TestNewcomers(t *testing.T) {
	f := newFleet(t)
	f.checkIn(newcomerBurst, 7)
	come := func(i int) error { return f.registry.checkIn(t.Context(), nodeNumber(i), checkInOf(7), true) }
	wantError(t, "one too many", come(newcomerBurst), satclient.ErrBusy)
	f.checkIn(newcomerBurst, 7) // those known are always welcome
	f.time = f.time.Add(time.Second)
	for i := range newcomerRate {
		must(t, come(newcomerBurst+i))
	}
	wantError(t, "one too many again", come(newcomerBurst+newcomerRate), satclient.ErrBusy)
}

// TestForget drops nodes that nobody has seen or needs any more.
func TestForget(t *testing.T) {
	f := newFleet(t)
	f.checkIn(3, 7)
	needed := func(id ident.ID) bool { return id == nodeNumber(1) }
	f.time = f.time.Add(forgetAfter)
	must(t, f.registry.forget(t.Context(), needed))
	if known, _ := f.registry.counts(); known != 3 {
		t.Errorf("%d nodes known, want all", known)
	}
	must(t, f.registry.checkIn(t.Context(), nodeNumber(2), checkInOf(7), true))
	f.time = f.time.Add(time.Second)
	must(t, f.registry.forget(t.Context(), needed))
	if known, _ := f.registry.counts(); known != 2 {
		t.Errorf("%d nodes known, want 2", known)
	}
	nodes, err := f.meta.Nodes(t.Context())
	must(t, err)
	if len(nodes) != 2 || nodes[0].ID != nodeNumber(1) || nodes[1].ID != nodeNumber(2) {
		t.Errorf("stored nodes %+v", nodes)
	}
}
