package satellite

import (
	"context"
	"fmt"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// openStandings reads what is thought of the nodes that are known.
func (r *registry) openStandings(ctx context.Context) error {
	known, err := r.meta.Standings(ctx)
	if err != nil {
		return err
	}
	for i := range known {
		if n := r.nodes[known[i].Node]; n != nil {
			n.standing, n.standingStored = known[i], r.listening
		}
	}
	return nil
}

// hear notes that a node has come. After a time without any the satellite
// itself was cut off, or stood still, and no node is to blame for that. mu is
// held.
func (r *registry) hear(now time.Time) {
	if silence := now.Sub(r.heard); !r.heard.IsZero() && silence > r.lapse() {
		r.listening = now
		r.log.Warn("no node was heard of for a time; none is blamed for it", "time", silence.Round(time.Second))
	}
	r.heard = now
}

// heardOut says whether the nodes that are there had the time to come since the
// satellite has been up.
func (r *registry) heardOut(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return now.Sub(r.listening) >= max(lapses*r.interval, min(maxSettling, r.rule.Grace))
}

// step brings a node's standing up to what is known. mu is held.
func (r *registry) step(n *node, now time.Time) {
	s := &n.standing
	present := n.LastSeen
	if r.isThere(n, now) { // a grace shorter than the lapse begins with its end
		present = now
	}
	facts := audit.Facts{
		Now: now, FirstSeen: n.FirstSeen, LastPresent: present, Owed: s.Owed, Answered: n.answered, Listening: r.listening,
		ExitAsked: !s.Exit.Asked.IsZero(), ExitCompleted: s.Exit.Departure != nil,
	}
	for {
		next, changed := s.Next(r.rule, facts)
		if !changed {
			return
		}
		r.turn(n, next)
	}
}

// turn gives a node another standing. mu is held.
func (r *registry) turn(n *node, next audit.Standing) {
	next.Since, next.Silences.Last = next.Since.Truncate(time.Second), next.Silences.Last.Truncate(time.Second)
	n.answered = n.answered && next.State != audit.Suspended
	r.log.Info("standing of a node", "node", n.ID, "state", next.State, "was", n.standing.State, "reason", next.Reason)
	n.standing.Standing, n.turned = next, true
}

// watch brings all standings up to the present.
func (r *registry) watch() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	from := r.watched
	if from.Before(r.listening) {
		from = r.listening
	}
	for _, n := range r.nodes {
		if span := now.Sub(from); span > 0 && n.standing.State != audit.Gone {
			n.standing.Presence = n.standing.Presence.Watch(now, span, r.isThere(n, now))
		}
		r.step(n, now)
	}
	r.watched = now
}

// judged takes in verdicts on a node's answers, reached now, and since when it
// owes the answer to a challenge; zero: it owes none.
func (r *registry) judged(id ident.ID, owed time.Time, verdicts ...audit.Verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[id]
	if n == nil {
		return
	}
	now := r.now()
	n.standing.Score = n.standing.Score.Add(verdicts...)
	n.standing.Presence = n.standing.Presence.Add(now, verdicts...)
	n.standing.Owed = owed
	r.step(n, now)
}

// answered notes that a node has answered something that it was asked.
func (r *registry) answered(id ident.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.nodes[id]; n != nil {
		n.answered = true
	}
}

// standing is what is thought of a node; the zero value of one not known.
func (r *registry) standing(id ident.ID) meta.Standing {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.nodes[id]; n != nil {
		return n.standing
	}
	return meta.Standing{}
}

// decide has the operator change a node's standing, durably. Errors:
// satclient.ErrBadRequest, also those of change.
func (r *registry) decide(ctx context.Context, id ident.ID, change func(audit.Standing) (audit.Standing, error)) error {
	r.mu.Lock()
	n := r.nodes[id]
	if n == nil {
		r.mu.Unlock()
		return fmt.Errorf("%w: there is no node %s", satclient.ErrBadRequest, id)
	}
	next, err := change(n.standing.Standing)
	if err == nil {
		r.turn(n, next)
		r.step(n, r.now())
	}
	r.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%w: %w", satclient.ErrBadRequest, err)
	}
	return r.storeStandings(ctx, false)
}

// exit notes durably that a node wants to leave. Error: satclient.ErrDenied for one
// that has nothing to hand over any more.
func (r *registry) exit(ctx context.Context, id ident.ID) error {
	r.mu.Lock()
	n := r.nodes[id]
	if n == nil || !n.standing.State.Counts() {
		r.mu.Unlock()
		return fmt.Errorf("%w: this node is %v", satclient.ErrDenied, r.standing(id).State)
	}
	if now := r.now(); n.standing.Exit.Asked.IsZero() {
		n.standing.Exit.Asked, n.turned = now.Truncate(time.Second), true
		r.step(n, now)
	}
	r.mu.Unlock()
	return r.storeStandings(ctx, false)
}

// handedOver counts a slot that a node has handed over on its way out.
func (r *registry) handedOver(id ident.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.nodes[id]; n != nil {
		n.standing.Exit.Slots++
		n.turned = true
	}
}

// departed notes durably that a node has handed over all its slots.
func (r *registry) departed(ctx context.Context, id ident.ID, departure *pb.Signed) error {
	r.mu.Lock()
	if n := r.nodes[id]; n != nil {
		n.standing.Exit.Departure, n.turned = departure, true
		r.step(n, r.now())
	}
	r.mu.Unlock()
	return r.storeStandings(ctx, false)
}

// storeStandings writes the standings of which the state changed, and those that
// were not written for long; all of them writes whatever may have changed.
func (r *registry) storeStandings(ctx context.Context, all bool) error {
	r.mu.Lock()
	now := r.now()
	var records []meta.Standing
	for _, n := range r.nodes {
		if all || n.turned || now.Sub(n.standingStored) >= keepEvery {
			records = append(records, n.standing)
			n.turned, n.standingStored = false, now
		}
	}
	r.mu.Unlock()
	err := r.meta.PutStandings(ctx, records)
	if err != nil {
		r.mu.Lock()
		for i := range records {
			if n := r.nodes[records[i].Node]; n != nil {
				n.turned = true
			}
		}
		r.mu.Unlock()
	}
	return err
}

// keepStandings brings the standings of all nodes up to the present, and stores
// them.
func (s *Satellite) keepStandings(ctx context.Context) error {
	s.registry.watch()
	return s.registry.storeStandings(ctx, false)
}

// lossOf is what a node has reported lost by itself, of what it should hold.
func (s *Satellite) lossOf(id ident.ID, mine []*group, journals map[uint32]meta.Journal) (loss audit.Loss) {
	now := s.now()
	for _, g := range mine {
		slot, holds := g.SlotOf(id)
		if !holds {
			continue
		}
		live := journals[g.ID].Segments
		loss.Held += live
		c := s.claims.get(meta.ClaimKey{Group: g.ID, Slot: slot, Node: id})
		if c != nil && now.Sub(c.lostAt) <= audit.LossWindow {
			loss.Lost += min(c.lost.Len(), live) // some may have been deleted since
		}
	}
	return loss
}

// standingOf is what a node is told of its standing.
func (s *Satellite) standingOf(id ident.ID, mine []*group) *pb.Standing {
	s.registry.mu.Lock()
	n := s.registry.nodes[id]
	if n == nil {
		s.registry.mu.Unlock()
		return nil
	}
	standing, full := n.standing, n.loss.Large()
	s.registry.mu.Unlock()
	m := &pb.Standing{
		State: pb.NodeState(standing.State), Reason: standing.Reason, Since: standing.Since.Unix(),
		Proved: standing.Score.Proved, Failed: standing.Score.Missing + standing.Score.Wrong,
		Suspicion: standing.Score.Suspicion(), Presence: standing.Presence.Value(), Full: full,
	}
	for _, g := range mine {
		if _, holds := g.SlotOf(id); holds {
			m.Slots++
		}
	}
	if standing.State == audit.Exiting {
		m.Leaving = m.Slots
	}
	return m
}
