package satellite

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/satellite/audit"
)

// unavailable answers as a node does that cannot look just now: one that has none
// of the groups, or one that hides what it lacks.
func unavailable(audit *order.Audit) ([]order.Answer, *pb.Signed, error) {
	answers := make([]order.Answer, len(audit.Challenges))
	for i := range answers {
		answers[i].Status = order.Unavailable
	}
	return answers, &pb.Signed{}, nil
}

// TestSilentNodeGetsNoSlots: a node that owes answers loses its slots, and gets
// none again before it has answered something, whatever it was asked for and
// however often the satellite is restarted. Then it is back by itself.
func TestSilentNodeGetsNoSlots(t *testing.T) {
	for name, first := range map[string]talker{
		"silent": func(context.Context, transport.Address, *order.Audit) ([]order.Answer, *pb.Signed, error) {
			return nil, nil, errSilent
		},
		"evasive": func(_ context.Context, _ transport.Address, audit *order.Audit) ([]order.Answer, *pb.Signed, error) {
			return unavailable(audit)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t, 11)
			quiet := w.index(w.group(1).Nodes[0])
			id := w.keys[quiet].ID()
			w.fill(20)
			w.claim()
			var a *auditor
			var asked []order.Challenge
			talk := first
			look := func() {
				t.Helper()
				asked = nil
				must(t, a.audit(t.Context(), &audited{id: id, owed: debtsOf(a, id)}))
			}
			restart := func() {
				w.restart(w.key)
				a = newAuditor(w.Satellite)
				a.talk = func(ctx context.Context, to transport.Address, audit *order.Audit) ([]order.Answer, *pb.Signed, error) {
					if to.ID != id {
						t.Errorf("node %v was asked", to.ID)
					}
					asked = append(asked, audit.Challenges...)
					return talk(ctx, to, audit)
				}
				w.pass(maxSettling)
				w.claim()
			}
			wants := func(when string, state audit.State, slots bool) {
				t.Helper()
				if s := w.registry.standing(id); s.State != state || (len(w.groups.of(id)) > 0) != slots {
					t.Errorf("%s: %v because %q, with %d slots", when, s.State, s.Reason, len(w.groups.of(id)))
				}
			}
			restart()
			look()
			wants("it owes", audit.Online, true)
			w.pass(time.Hour + time.Second)
			w.repair()
			wants("for longer than grace", audit.Suspended, false)

			talk = func(context.Context, transport.Address, *order.Audit) ([]order.Answer, *pb.Signed, error) {
				return nil, nil, errSilent
			}
			away := (quiet + 1) % len(w.keys)
			w.away[away] = true
			w.registry.disconnected(w.keys[away].ID())
			for range 3 {
				w.pass(time.Hour + time.Second)
				look()
				w.repair()
				wants("there are slots to be had", audit.Suspended, false)
				restart()
			}
			if len(asked) != 1 || w.groups.held(w.keys[away].ID()) == 0 {
				t.Errorf("it was asked for %d shards, and the slots to be had were %d", len(asked), w.groups.held(w.keys[away].ID()))
			}
			talk = func(_ context.Context, _ transport.Address, audit *order.Audit) ([]order.Answer, *pb.Signed, error) {
				return unavailable(audit) // an honest node cannot look into groups that it has not
			}
			look()
			wants("it answers", audit.Online, false)
			w.pass(time.Hour)
			w.repair()
			wants("and is given slots", audit.Online, true)
		})
	}
}

// debtsOf is what the auditor remembers that a node owes.
func debtsOf(a *auditor, id ident.ID) []debt {
	if n := a.nodes[id]; n != nil {
		return n.owed
	}
	return nil
}

// TestAuditsWaitForNobody: a node that does not answer holds up no audit of
// others, and is not audited twice at a time; nor do many of them.
func TestAuditsWaitForNobody(t *testing.T) {
	const mute = doubtsAtOnce + 4 // more than have a place
	w := newTown(t, mute+3)
	w.fill(20)
	w.claim()
	a := newAuditor(w.Satellite)
	a.patience = time.Hour
	counts := make([]struct{ asked, now atomic.Int32 }, mute+3)
	hang := make(chan struct{})
	var hanging atomic.Bool
	var hung atomic.Int32
	a.talk = func(ctx context.Context, to transport.Address, audit *order.Audit) ([]order.Answer, *pb.Signed, error) {
		i := slices.IndexFunc(w.keys, func(k ident.Key) bool { return k.ID() == to.ID })
		c := &counts[i]
		c.asked.Add(1)
		if c.now.Add(1) > 1 {
			t.Errorf("node %d is audited twice at a time", i)
		}
		defer c.now.Add(-1)
		if i >= mute {
			return unavailable(audit)
		}
		if hanging.Load() {
			hung.Add(1)
			<-hang
			hung.Add(-1)
		}
		return nil, nil, errors.New("it does not answer")
	}
	settled := func() bool { // nothing is under way but what hangs
		a.mu.Lock()
		defer a.mu.Unlock()
		asking := 0
		for _, n := range a.nodes {
			if n.asking {
				asking++
			}
		}
		return asking == int(hung.Load())
	}
	round := func() {
		w.time = w.time.Add(2 * a.interval)
		w.round()
		a.round(t.Context())
		for !settled() {
			time.Sleep(time.Millisecond)
		}
	}
	round() // nobody is known
	round() // the first that they do not answer
	a.wait()
	hanging.Store(true)
	before := make([]int32, len(counts))
	for i := range counts {
		before[i] = counts[i].asked.Load()
	}
	for range 5 {
		round()
	}
	for i := range counts {
		asked := counts[i].asked.Load() - before[i]
		if i >= mute && asked != 5 {
			t.Errorf("node %d, which answers, was audited %d times in 5 rounds", i, asked)
		}
	}
	if n := hung.Load(); n != doubtsAtOnce {
		t.Errorf("%d audits hang, there is room for %d", n, doubtsAtOnce)
	}
	close(hang)
	a.wait()
	hanging.Store(false)
	for range 8 { // in turn, as places are few
		round()
		a.wait()
	}
	for i := range counts {
		if counts[i].asked.Load() == before[i] {
			t.Errorf("node %d was not audited any more", i)
		}
	}
}
