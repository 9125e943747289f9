package repair

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/placement"
)

// network is a synthetic one: groups of 40 slots, 4 groups a node, of which 1 %
// are gone or disqualified, and slots that lack up to 20 runs of their journal.
type network struct {
	scheme erasure.Scheme
	head   uint64
	nodes  []Node
	groups []Group
	slots  [][]Slot
}

func newNetwork(nodes, groups int, head uint64) *network {
	random := rand.New(rand.NewPCG(1, 2))
	n := &network{scheme: erasure.Scheme{Required: 20, RepairBelow: 28, Success: 32, Total: 40}, head: head}
	for i := range nodes {
		node := Node{State: audit.Online, Node: placement.Node{
			ID: ident.ID{byte(i), byte(i >> 8), byte(i >> 16), 1}, Free: int64(1+random.IntN(20)) << 40,
			Subnets: []string{fmt.Sprintf("%d.%d.0.0/24", i>>8, i&255)}, Success: 0.9 + random.Float64()/10,
		}}
		switch random.IntN(200) {
		case 0:
			node.State = audit.Disqualified
		case 1:
			node.Away = long
		case 2, 3, 4:
			node.Away = shortly
		case 5, 6, 7, 8, 9:
			node.State = audit.Vetting
		}
		n.nodes = append(n.nodes, node)
	}
	for g := range groups {
		group := Group{ID: uint32(g + 1), Scheme: n.scheme, Size: 100 << 30}
		slots := make([]Slot, n.scheme.Total)
		for i := range slots {
			holder := &n.nodes[(g*n.scheme.Total+i)%nodes]
			group.Seats = append(group.Seats, Seat{Holder: holder.ID})
			slots[i] = Slot{Presence: holder.Presence(limits.Grace), Due: head, Claim: Claim{Seq: head, Missing: lacking(random, head)}}
			if random.IntN(100) == 0 { // has just been given the slot
				slots[i].Given, slots[i].Claim = head, Claim{Seq: head / 2}
			}
		}
		n.groups, n.slots = append(n.groups, group), append(n.slots, slots)
	}
	return n
}

// lacking is 0 to 20 runs within a journal.
func lacking(random *rand.Rand, head uint64) seqset.Set {
	var runs []seqset.Run
	for range random.IntN(21) {
		at := 1 + random.Uint64N(head)
		runs = append(runs, seqset.Run{First: at, Last: min(head, at+random.Uint64N(1+head/1000))})
	}
	return seqset.Of(runs...)
}

func (n *network) examine() {
	for g := range n.groups {
		n.groups[g].Health = Examine(n.scheme, n.head, n.slots[g])
	}
}

// networks has the same nodes and groups with more and more segments, and then
// the same segments in more and more groups.
var networks = []struct {
	segments, nodes, groups int
}{
	{1e7, 1e5, 1e4}, {1e8, 1e5, 1e4}, {1e9, 1e5, 1e4}, {1e8, 1e4, 1e3}, {1e8, 3e4, 3e3},
}

func forNetworks(b *testing.B, do func(b *testing.B, n *network)) {
	for _, c := range networks {
		b.Run(fmt.Sprintf("segments=%.0e/nodes=%.0e/groups=%.0e", float64(c.segments), float64(c.nodes), float64(c.groups)), func(b *testing.B) {
			n := newNetwork(c.nodes, c.groups, uint64(c.segments/c.groups))
			do(b, n)
		})
	}
}

// BenchmarkHealthPass examines all groups of a network once.
func BenchmarkHealthPass(b *testing.B) {
	forNetworks(b, func(b *testing.B, n *network) {
		kept := heapAfter(func() { n.examine() })
		b.ReportAllocs()
		began := cpuTime()
		for b.Loop() {
			n.examine()
		}
		b.ReportMetric((cpuTime()-began).Seconds()*1e3/float64(b.N), "cpu-ms/op")
		b.ReportMetric(kept/1e6, "kept-MB")
	})
}

// BenchmarkHealthPlan chooses new holders from the health of all groups.
func BenchmarkHealthPlan(b *testing.B) {
	forNetworks(b, func(b *testing.B, n *network) {
		n.examine()
		l := limits
		l.Total = 10_000
		b.ReportAllocs()
		var d Decision
		began := cpuTime()
		for b.Loop() {
			d = Plan(n.groups, n.nodes, l, 1)
		}
		b.ReportMetric((cpuTime()-began).Seconds()*1e3/float64(b.N), "cpu-ms/op")
		b.ReportMetric(float64(len(d.Replacements)), "replaced")
		b.ReportMetric(float64(len(d.Delays)), "delayed")
	})
}

// BenchmarkHealthWorst examines a group of which every slot lacks as many runs as
// a claim may leave out, no two of them at the same numbers.
func BenchmarkHealthWorst(b *testing.B) {
	n := newNetwork(40, 1, 1e8)
	for i := range n.slots[0] {
		var numbers []uint64
		for run := range uint64(order.MaxClaimRuns) {
			numbers = append(numbers, 1+run*200+uint64(i)*3)
		}
		n.slots[0][i] = Slot{Claim: Claim{Seq: n.head, Missing: seqset.Numbers(numbers)}}
	}
	b.ReportAllocs()
	for b.Loop() {
		n.examine()
	}
}

// BenchmarkHealthPlanFull has no node with room for any of thousands of slots.
func BenchmarkHealthPlanFull(b *testing.B) {
	n := newNetwork(1e5, 1e4, 1000)
	n.examine()
	for i := range n.nodes {
		n.nodes[i].Free = 1
	}
	l := limits
	l.Total = 10_000
	var d Decision
	began := cpuTime()
	for b.Loop() {
		d = Plan(n.groups, n.nodes, l, 1)
	}
	b.ReportMetric((cpuTime()-began).Seconds()*1e3/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(len(d.Delays)), "delayed")
}

// heapAfter is by how many bytes the heap in use grows.
func heapAfter(do func()) float64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	do()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return float64(after.HeapAlloc) - float64(before.HeapAlloc)
}

// cpuTime is what the process has used, which says more than the time that went
// by where other processes run.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
