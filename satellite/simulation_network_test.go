package satellite

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/kv/memkv"
	"github.com/cairnstorage/cairn/satellite/meta"
)

// A network is a whole network in one goroutine, by a clock that it moves
// itself: the satellite as it is, over a store in memory, its handlers called
// as peers call them and its chores done when they are due; and nodes and an
// uplink in memory, which speak to it, and to each other, as SPEC.md says.
//
// All that happens is an event, and all chance comes from the seed, so the same
// seed gives the same year, bit for bit.
type network struct {
	rules
	story
	figures
	t      testing.TB
	ctx    context.Context
	chance *rand.Rand // what befalls whom
	time   time.Time
	calm   bool // nothing befalls it any more
	events events

	kv   kv.Store
	key  ident.Key
	host *transport.Host
	sat  *process
	skew time.Duration
	dice *rand.ChaCha8 // of the satellite

	all    []*simNode // that ever were
	byID   map[ident.ID]*simNode
	coder  *erasure.Coder
	uplink *simUplink
	opened opened
	watch
}

// process is the satellite from a start to the next.
type process struct {
	*Satellite
	up       bool
	began    time.Time
	nodes    *nodesServer
	metadata *metadataService
}

// simBegin is when simulated networks begin.
var simBegin = time.Unix(1_800_000_000, 0).UTC()

// event is something that is to happen.
type event struct {
	at     time.Time
	serial uint64 // of two at one time the one that was planned first comes first
	do     func()
}

// events is a heap.
type events struct {
	list   []event
	serial uint64
}

func (q *events) Len() int { return len(q.list) }
func (q *events) Less(i, j int) bool {
	a, b := &q.list[i], &q.list[j]
	if a.at.Equal(b.at) {
		return a.serial < b.serial
	}
	return a.at.Before(b.at)
}
func (q *events) Swap(i, j int) { q.list[i], q.list[j] = q.list[j], q.list[i] }
func (q *events) Push(x any)    { q.list = append(q.list, x.(event)) }
func (q *events) Pop() any {
	last := q.list[len(q.list)-1]
	q.list[len(q.list)-1] = event{}
	q.list = q.list[:len(q.list)-1]
	return last
}

// after has something happen later.
func (w *network) after(d time.Duration, do func()) {
	w.events.serial++
	heap.Push(&w.events, event{w.time.Add(d), w.events.serial, do})
}

// every has something happen again and again, at a fixed interval.
func (w *network) every(d time.Duration, do func()) {
	w.after(d, func() { do(); w.every(d, do) })
}

// often has something happen so many times a day in the mean, each independent
// of the others.
func (w *network) often(daily float64, do func()) {
	if daily <= 0 {
		return
	}
	w.after(w.wait(days(1/daily)), func() {
		if !w.calm {
			do()
			w.often(daily, do)
		}
	})
}

// wait is an exponential time.
func (w *network) wait(mean time.Duration) time.Duration {
	return time.Duration(w.chance.ExpFloat64() * float64(mean))
}

// between is a uniform time.
func (w *network) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.chance.Int64N(int64(most-least)))
}

func days(n float64) time.Duration { return time.Duration(n * 24 * float64(time.Hour)) }

// newNetwork makes a network in which nothing has happened yet.
func newNetwork(t testing.TB, r rules) *network {
	t.Helper()
	w := &network{
		rules: r, t: t, ctx: t.Context(), time: simBegin, kv: memkv.New(),
		chance: rand.New(rand.NewPCG(r.seed, 1)), dice: rand.NewChaCha8([32]byte{byte(r.seed), byte(r.seed >> 8), 2}),
		byID: make(map[ident.ID]*simNode),
	}
	w.story.open(w)
	w.key = w.newKey()
	var err error
	w.host, err = transport.New(transport.Config{Key: w.key}) // it listens nowhere
	must(t, err)
	t.Cleanup(func() { w.host.Close() })
	w.coder, err = erasure.NewCoder(r.scheme.Required, r.scheme.Total)
	must(t, err)
	w.start()
	w.uplink = w.newUplink()
	w.startWatch()
	return w
}

// newKey draws a key.
func (w *network) newKey() ident.Key {
	key, err := ident.Generate(w.dice)
	must(w.t, err)
	return key
}

// clock is that of the satellite.
func (w *network) clock() time.Time { return w.time.Add(w.skew) }

// start starts the satellite, over what the store holds.
func (w *network) start() {
	c, err := Config{
		Dir: "in memory", Scheme: w.scheme, GroupsPerNode: w.perNode, CheckIn: w.checkIn, OfflineGrace: w.grace,
		Vetting: w.vetting, Staging: w.staging, Tombstones: w.tombstones, AuditInterval: w.auditing, AuditBatch: w.batch,
		Logger: w.story.logger(), Now: w.clock, Rand: w.dice,
	}.withDefaults()
	must(w.t, err)
	s := &Satellite{
		config: c, now: c.Now, rand: c.Rand, log: c.Logger, started: w.clock(),
		key: w.key, kv: w.kv, host: w.host,
	}
	s.meta, err = meta.Open(w.ctx, w.kv, meta.Config{Satellite: w.key.ID(), Now: s.now, Rand: s.rand})
	must(w.t, err)
	must(w.t, s.recall(w.ctx))
	s.auditor = newAuditor(s)
	s.auditor.talk = w.answer
	up := &process{Satellite: s, up: true, began: w.time, nodes: &nodesServer{Satellite: s}, metadata: newMetadata(s)}
	w.sat = up
	w.after(min(lapses*c.CheckIn, maxSettling), up.settling.end)
	w.chores(up)
}

// stop takes the satellite down: in good order, or as if it were killed.
func (w *network) stop(killed bool) {
	s := w.sat
	if !killed {
		must(w.t, s.registry.store(w.ctx, true))
		must(w.t, s.registry.storeStandings(w.ctx, true))
		must(w.t, s.storeClaims(w.ctx))
	}
	s.up = false
}

// chores has the satellite do again and again what Run does, as long as it is
// up.
func (w *network) chores(up *process) {
	chore := func(interval time.Duration, do func(context.Context) error) {
		var again func()
		again = func() {
			if !up.up {
				return
			}
			if err := do(w.ctx); err != nil {
				w.fail("a chore of the satellite failed: %v", err)
			}
			w.after(interval, again)
		}
		w.after(time.Minute, again) // when hardly a node has come yet
	}
	for _, do := range []func(context.Context) error{
		up.planIfAny, up.storeNodes, up.keepStandings, up.storeClaims, up.expire, up.trim, w.repair,
		w.audit,
	} {
		chore(w.chore, do)
	}
	chore(max(w.chore, time.Hour), up.forgetNodes)
}

// repair has the satellite look after its groups.
func (w *network) repair(ctx context.Context) error {
	err := w.sat.repairer.repairOnce(ctx)
	w.checkEpochs()
	return err
}

// audit has the satellite audit the nodes that are due, one after another.
func (w *network) audit(ctx context.Context) error {
	if !w.settled() {
		return nil
	}
	a := w.sat.auditor
	for _, n := range a.begin() {
		if err := a.audit(ctx, n); err != nil {
			return err
		}
		a.end(n)
	}
	return nil
}

// planIfAny forms groups if nodes have come.
func (s *process) planIfAny(ctx context.Context) error {
	select {
	case <-s.registry.change:
		return s.groups.plan(ctx)
	default:
		return nil
	}
}

// settled says whether the satellite is up and takes writes, so that no handler
// waits for anything.
func (w *network) settled() bool {
	if !w.sat.up {
		return false
	}
	select {
	case <-w.sat.settling.over:
		return true
	default:
		return false
	}
}

// as is the context of a call by a peer.
func (w *network) as(id ident.ID, number int) context.Context {
	ip := netip.AddrFrom4([4]byte{10, byte(number >> 8), byte(number), 1})
	return transport.WithPeer(w.ctx, id, ip)
}

// run lets time pass, until it is over or something is wrong.
func (w *network) run(d time.Duration) {
	for end := w.time.Add(d); !w.wrong() && len(w.events.list) > 0; {
		if next := w.events.list[0].at; next.After(end) {
			w.time = end
			return
		}
		e := heap.Pop(&w.events).(event)
		w.time = e.at
		e.do()
	}
}

// openGroup and openLimit open what the satellite has signed; each record once
// for all who read it, which saves much of the time.
func (w *network) openGroup(signed *pb.Signed) *order.Group {
	if g := w.opened.groups[string(signed.Signature)]; g != nil {
		return g
	}
	g, err := order.OpenGroup(signed, w.key.ID())
	must(w.t, err)
	put(&w.opened.groups, string(signed.Signature), g)
	return g
}

func (w *network) openLimit(signed *pb.Signed) *order.Limit {
	if l := w.opened.limits[string(signed.Signature)]; l != nil {
		return l
	}
	l, err := order.OpenLimit(signed, w.key.ID())
	must(w.t, err)
	if len(w.opened.limits) > 100 { // they are of use for an hour
		w.opened.limits = nil
	}
	put(&w.opened.limits, string(signed.Signature), l)
	return l
}

// opened are records by their signatures.
type opened struct {
	groups map[string]*order.Group
	limits map[string]*order.Limit
}

// group is a group at its newest epoch, as the satellite has it.
func (w *network) group(id uint32) *order.Group {
	g, err := w.sat.groups.get(id)
	must(w.t, err)
	return &g.Group
}
