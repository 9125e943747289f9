package satellite

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
)

var (
	seed  = flag.Uint64("seed", 0, "simulate this seed only")
	aloud = flag.Bool("aloud", false, "tell all that happens in simulations")
)

// calm is a network of good nodes, which is left alone.
var calm = rules{
	nodes: 12, scheme: erasure.Scheme{Required: 3, RepairBelow: 4, Success: 5, Total: 7}, perNode: 2, vetting: 20,
	checkIn: time.Hour, chore: time.Hour, auditing: 6 * time.Hour, batch: 8,
	grace: 4 * time.Hour, staging: 24 * time.Hour, tombstones: 10 * 24 * time.Hour, scrubbing: 7 * 24 * time.Hour,
	uploads: 6, reads: 2, keeping: 30,
	length: 30 * 24 * time.Hour,
}

// churning is one in which all happens that may, more often than it should.
func (r rules) churning() rules {
	r.fails, r.leaves, r.outages, r.rots, r.breaks, r.skews = 2, 2, 4, 0.3, 1, 1
	r.restarts, r.floods, r.badly = 6, 12, 0.002
	return r
}

// lying is one in which a share of the nodes turn into liars.
func (r rules) lying(share float64) rules {
	r.liars = share
	return r
}

func (r rules) seeded(seed uint64) rules {
	r.seed = seed
	return r
}

// simulate has a network live by its rules, and then rest.
func simulate(t *testing.T, r rules) {
	t.Helper()
	w := live(t, r)
	if !w.wrong() {
		w.rest()
	}
	t.Logf("seed %d, %d nodes, %.0f days:\n%s", w.seed, r.nodes, r.length.Hours()/24, &w.figures)
}

// live has a network live by its rules.
func live(t *testing.T, r rules) *network {
	t.Helper()
	if *seed != 0 {
		r.seed = *seed
	}
	w := newNetwork(t, r)
	t.Cleanup(w.close)
	w.begin()
	w.run(r.length)
	return w
}

// TestDays simulates some days of a small network in which all goes wrong that
// may.
func TestDays(t *testing.T) {
	r := calm.churning().lying(0.3).seeded(3)
	r.length = 10 * 24 * time.Hour
	simulate(t, r)
}

// TestAgain simulates the same twice.
func TestAgain(t *testing.T) {
	r := calm.churning().lying(0.3).seeded(4)
	r.length = 3 * 24 * time.Hour
	a, b := live(t, r).sum(t), live(t, r).sum(t)
	if a != b {
		t.Errorf("seed %d came out as %s and as %s", r.seed, a, b)
	}
}

// TestSilence simulates nodes that check in and do not answer: two for good, of
// which one never holds what it is given, and one that was only hung.
func TestSilence(t *testing.T) {
	r := calm.seeded(5)
	r.restarts, r.length = 8, 12*24*time.Hour
	w := newNetwork(t, r)
	t.Cleanup(w.close)
	w.begin()
	w.run(days(1))
	mute, evading, hung := w.all[1], w.all[2], w.all[3]
	w.every(days(1), func() { // so that there are slots to be had
		if n := w.pick(func(n *simNode) bool { return n != mute && n != evading && n != hung }); n != nil {
			w.failNode(n)
		}
	})
	mute.turn(silent, 1)
	evading.turn(evasive, 1)
	w.run(days(1))
	hung.hang(days(1))
	w.run(days(1) - 1)
	if s := w.sat.registry.standing(hung.id); !s.MustAnswer() {
		t.Errorf("a node that hung for a day is %v: %s", s.State, s.Reason)
	}
	w.run(days(1))
	if s := w.sat.registry.standing(hung.id); !s.State.TakesData() {
		t.Errorf("a node that was hung and answers is %v: %s", s.State, s.Reason)
	}
	w.run(r.length - w.age())
	if mute.caught.IsZero() || evading.caught.IsZero() {
		t.Errorf("a silent node is out since %v, an evasive one since %v", mute.caught, evading.caught)
	}
	if evading.again < 2 || w.sat.groups.held(hung.id) == 0 {
		t.Errorf("there were slots for nobody: %d times for who answers to get some, %d for who was hung", evading.again, w.sat.groups.held(hung.id))
	}
	t.Logf("seed %d:\n%s", w.seed, &w.figures)
}

// TestOutage simulates a satellite that is away for longer than its nodes may be.
// Nobody is to lose anything for that.
func TestOutage(t *testing.T) {
	for _, killed := range []bool{false, true} {
		r := calm.seeded(6)
		w := newNetwork(t, r)
		t.Cleanup(w.close)
		w.begin()
		w.run(days(1))
		w.stopFor(2*r.grace, killed)
		w.run(days(1))
		for _, n := range w.all {
			if s := w.sat.registry.standing(n.id); !s.State.TakesData() || strings.Contains(s.Reason, "back") {
				t.Errorf("%v is %v: %s", n, s.State, s.Reason)
			}
		}
		if moved := w.counts["slots that went to others"]; moved > 0 {
			t.Errorf("%d slots went to others", moved)
		}
	}
}

// TestMonths simulates a month of many small networks.
func TestMonths(t *testing.T) {
	long(t)
	for s := uint64(100); s < 130; s++ {
		for name, r := range map[string]rules{"calm": calm, "churning": calm.churning(), "lying": calm.churning().lying(0.3)} {
			if name == "calm" && s > 100 {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", name, s), func(t *testing.T) { simulate(t, r.seeded(s)) })
		}
	}
}

// TestYear simulates a year of a network of some size, by rates that are not far
// from those of real ones.
func TestYear(t *testing.T) {
	long(t)
	r := calm.churning().lying(0.15).seeded(1)
	r.nodes, r.perNode, r.uploads, r.keeping, r.length = 60, 3, 20, 250, 365*24*time.Hour
	r.scheme = erasure.Scheme{Required: 4, RepairBelow: 6, Success: 8, Total: 10}
	r.fails, r.leaves, r.outages, r.rots, r.breaks, r.restarts = 0.25, 0.1, 2, 0.2, 0.2, 2
	r.auditing = 8 * time.Hour
	simulate(t, r)
}

func long(t *testing.T) {
	t.Helper()
	if os.Getenv("CAIRN_LONG") == "" {
		t.Skip("takes minutes; set CAIRN_LONG")
	}
}
