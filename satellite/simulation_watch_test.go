package satellite

import (
	"time"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/meta"
)

// What a network promises, and within which time.
const (
	// wholeWithin is how long a group may lack anything, satellite up or not.
	wholeWithin = 48 * time.Hour
	// checkEvery is the time between two looks at all there is.
	checkEvery = 6 * time.Hour
	// fresh is how old a segment is that slower nodes may still lack.
	fresh = 24 * time.Hour
	// leftWithin is when a node that asked to leave has left.
	leftWithin = 5 * 24 * time.Hour
)

// watch is what the simulation looks at while a network lives. It sees what no
// satellite does: who is honest, and which shards are really there.
type watch struct {
	epochs map[uint32]*order.Group // as they were last seen
	hurtAt map[uint32]time.Time    // since when a group lacks something
}

// doom is a shard that is to be gone.
type doom struct {
	group    uint32
	id       order.SegmentID
	checkIns int // of the node, when it was deleted
}

func (w *network) startWatch() {
	w.epochs, w.hurtAt = make(map[uint32]*order.Group), make(map[uint32]time.Time)
	w.every(checkEvery, func() {
		w.checkAll()
		w.checkNodes()
		w.checkWhole()
	})
	w.every(days(1), w.checkClaims)
	w.every(days(5), w.checkStore)
}

// copies counts the slots of a segment whose holders have what it takes to read
// it: at all, and now.
func (w *network) copies(g *order.Group, s *simSegment) (kept, readable int) {
	for slot, id := range g.Nodes {
		n := w.byID[id]
		if !n.alive() || !n.isHonest() || !n.holds(g.ID, slot, s.id) {
			continue
		}
		kept++
		if n.up && !n.parts[g.ID].shards[s.id].away {
			readable++
		}
	}
	return kept, readable
}

// checkReadable checks that all segments of a group can be read.
func (w *network) checkReadable(id uint32) {
	g := w.group(id)
	for _, s := range w.uplink.inGroup[id] {
		if s.bad || s.fading {
			continue
		}
		kept, readable := w.copies(g, s)
		w.least("shards kept of a segment", kept)
		if readable < w.scheme.Required {
			w.unreadable(g, s, kept)
		}
		if kept < w.scheme.Required {
			w.fail("segment %s of group %d is lost: %d sound shards are left", s.id, id, kept)
			return
		}
	}
}

// unreadable judges that a segment cannot be read now, of which so many sound
// shards are kept. Too many holders may be away at once, and too many that seem to
// hold theirs may lie; that few are left of what does neither is the fault of
// repair.
func (w *network) unreadable(g *order.Group, s *simSegment, kept int) {
	liars, away := 0, 0
	for _, id := range g.Nodes {
		switch n := w.byID[id]; {
		case !n.isHonest():
			liars++
		case n.alive() && !n.up:
			away++
		}
	}
	w.count("moments at which a segment could not be read")
	w.tell("segment %s of group %d cannot be read: %d sound shards, %d holders lie, %d are away", s.id, g.ID, kept, liars, away)
	if kept+liars < w.scheme.RepairBelow && w.time.Sub(s.entered) > fresh {
		w.fail("segment %s of group %d cannot be read, and only %d sound shards are kept", s.id, g.ID, kept)
	}
}

// hurt checks what has become of the groups of a node that something happened to.
func (w *network) hurt(n *simNode) {
	for _, g := range w.sat.groups.of(n.id) {
		w.checkReadable(g.ID)
	}
}

// checkAll checks that all segments can be read.
func (w *network) checkAll() {
	groups := w.groups()
	w.most("groups", len(groups))
	for _, g := range groups {
		w.checkReadable(g.ID)
	}
	for _, n := range w.members() {
		w.most("slots of a node", w.sat.groups.held(n.id))
	}
}

// groups are all groups as the satellite has them.
func (w *network) groups() (list []*order.Group) {
	all := w.sat.groups
	all.mu.Lock()
	defer all.mu.Unlock()
	for _, id := range sortedIDs(all.byID) {
		list = append(list, &all.byID[id].Group)
	}
	return list
}

// checkNodes checks what the satellite thinks of nodes.
func (w *network) checkNodes() {
	for _, n := range w.all {
		standing := w.sat.registry.standing(n.id)
		slots := w.sat.groups.held(n.id)
		n.checkSilence(standing.MustAnswer(), slots)
		failed := int(standing.Score.Missing + standing.Score.Wrong)
		switch {
		case n.lie.since.IsZero() && failed > n.damaged:
			w.fail("%v is honest, audits found %d of its shards damaged, and %d answers are held against it", n, n.damaged, failed)
		case n.isHonest() && standing.State == audit.Disqualified:
			w.fail("%v is honest and disqualified: %s", n, standing.Reason)
		case !n.isHonest() && n.alive() && slots == 0 && n.caught.IsZero():
			n.caught = w.time
			w.after(w.wait(days(1)), func() { w.join() })
			w.tell("%v, %v, is out: %v, %s", n, n.lie.kind, standing.State, standing.Reason)
			w.count("liars out: " + n.lie.kind.String())
			w.took("until a liar is out: "+n.lie.kind.String(), w.time.Sub(n.lie.since))
			w.most("challenges until a liar is out: "+n.lie.kind.String(), int(standing.Score.Challenges()-n.lie.before))
		}
	}
}

// soonest is after how long at the soonest a node may be given slots for the n-th
// time again that answers what it has to for that, and then keeps silent on them:
// each time it waits twice as long and grace, until that comes to a LossWindow.
func (w *network) soonest(n int) (after time.Duration) {
	pause := time.Duration(0)
	for range n - 1 {
		pause = min(2*pause+w.grace, audit.LossWindow)
		after += pause
	}
	return after
}

// checkSilence checks that a node that was out for its silence is not given slots
// over and over.
func (n *simNode) checkSilence(mustAnswer bool, slots int) {
	if n.isHonest() || !n.alive() {
		return
	}
	switch {
	case slots == 0 && mustAnswer && !n.muted:
		n.muted = true
		if n.silentFrom.IsZero() {
			n.silentFrom = n.time
		}
	case slots > 0 && n.muted:
		n.muted = false
		n.again++
		n.most("times that a node was given slots again: "+n.lie.kind.String(), n.again)
		age := n.time.Sub(n.silentFrom)
		early := age < audit.LossWindow && age < n.soonest(n.again)-2*checkEvery // later, some may be forgiven
		if n.lie.silent() || early {
			n.fail("%v, %v, is given slots for the %d. time after it was out, within %v", n, n.lie.kind, n.again, age)
		}
	}
}

// expectOut checks some time later that a liar is out.
func (w *network) expectOut(n *simNode) {
	n.lie.before = w.sat.registry.standing(n.id).Score.Challenges()
	if n.lie.kind == falsifying {
		return // who proves well is no concern of audits
	}
	within := n.outWithin()
	w.after(within, func() {
		live, missing := 0, 0
		for _, p := range n.parts {
			live += len(p.live)
			missing += len(p.missing)
		}
		if n.caught.IsZero() && n.alive() && w.sat.groups.held(n.id) > 0 && (20*missing >= live || n.lie.silent()) {
			w.fail("%v, %v, lacks %d of %d shards that it claims, and has %d slots since %v", n, n.lie.kind, missing, live,
				w.sat.groups.held(n.id), within)
		}
	})
}

// outWithin is when a liar holds no slot any more: when it was asked often enough
// for the score to condemn it, or to find out that it does not answer, and half
// as often again, and some days.
func (n *simNode) outWithin() time.Duration {
	need := map[kind]float64{forgetful: 22, inventive: 12, evasive: 9, silent: 1, occasional: 44}[n.lie.kind]
	return 3*24*time.Hour + time.Duration(1.5*need/n.lie.share*float64(n.auditing)/float64(n.batch))
}

// checkWhole checks that groups that have lost something are whole again in time.
func (w *network) checkWhole() {
	for _, g := range w.groups() {
		what := w.lacking(g)
		since, hurt := w.hurtAt[g.ID]
		switch {
		case what == "" && hurt:
			w.took("until a group is whole again", w.time.Sub(since))
			delete(w.hurtAt, g.ID)
		case what != "" && !hurt:
			w.hurtAt[g.ID] = w.time
		case what != "" && w.time.Sub(since) > wholeWithin:
			w.fail("group %d is not whole for %v: %s", g.ID, w.time.Sub(since), what)
			delete(w.hurtAt, g.ID)
		}
	}
}

// lacking says what a group lacks. What liars have is another matter.
func (w *network) lacking(g *order.Group) string {
	for slot, id := range g.Nodes {
		n := w.byID[id]
		if !n.alive() {
			return n.String() + " is gone and still has a slot"
		}
		if !n.isHonest() {
			continue
		}
		p := n.parts[g.ID]
		for _, s := range w.uplink.inGroup[g.ID] {
			if s.bad || s.fading || w.time.Sub(s.entered) < fresh {
				continue
			}
			if p == nil || p.slot != slot || p.shards[s.id] == nil {
				return n.String() + " lacks " + s.id.String()
			}
		}
	}
	return ""
}

// checkClaim checks that an honest node holds what it claims.
func (n *simNode) checkClaim(c *simClaim) {
	if !n.isHonest() {
		return
	}
	p := n.parts[c.Group]
	for id, e := range p.live {
		if c.Covers(e.Seq) && p.shards[id] == nil {
			n.fail("%v claims entry %d of group %d and lacks it", n, e.Seq, c.Group)
			return
		}
	}
}

// checkClaims checks what the satellite takes nodes to hold against what they do,
// by the journal as the satellite has it.
func (w *network) checkClaims() {
	if !w.sat.up {
		return
	}
	for _, g := range w.groups() {
		live := w.journalOf(g.ID)
		for slot, id := range g.Nodes {
			n := w.byID[id]
			c := w.sat.claims.get(meta.ClaimKey{Group: g.ID, Slot: slot, Node: id})
			p := n.parts[g.ID]
			if c == nil || !n.isHonest() || !n.up || n.seen.Before(w.sat.began) || p == nil || p.claim == nil || !p.claim.taken {
				continue
			}
			if c.Issued.After(p.claim.Issued) && w.time.Sub(p.claim.Issued) < 2*w.checkIn {
				continue // made when its clock was ahead, which is over soon
			}
			if n.seen.Before(n.wronged) {
				continue // made when its clock was wrong; the next check-in is to come
			}
			if c.digest != [8]byte(p.claim.digest[:8]) && n.error().Abs() < order.Skew {
				w.fail("%v made another claim on group %d than the satellite has", n, g.ID)
			}
			for segment, seq := range live {
				if c.Covers(seq) && p.shards[segment] == nil {
					w.fail("%v is taken to hold entry %d of group %d and does not", n, seq, g.ID)
					break
				}
			}
		}
	}
}

// checkStore checks that the metadata agrees with itself, and that what counts
// there is what the uplink takes to be there.
func (w *network) checkStore() {
	if err := w.sat.meta.Check(w.ctx); err != nil {
		w.fail("the metadata contradicts itself: %v", err)
	}
}

// doom has all nodes of a group be checked for a segment that was deleted.
func (w *network) doom(s *simSegment) {
	for _, n := range w.members() {
		if n.isHonest() && n.parts[s.Group] != nil {
			n.doomed = append(n.doomed, doom{s.Group, s.id, n.checkIns})
		}
	}
}

// checkDoomed checks that what was deleted is gone after two check-ins.
func (n *simNode) checkDoomed() {
	rest := n.doomed[:0]
	for _, d := range n.doomed {
		p := n.parts[d.group]
		switch {
		case p == nil || p.shards[d.id] == nil:
		case n.checkIns >= d.checkIns+2:
			n.fail("%v still has segment %s of group %d, deleted two check-ins ago", n, d.id, d.group)
		default:
			rest = append(rest, d)
		}
	}
	n.doomed = rest
}

// checkEpochs checks the groups that went on to another epoch.
func (w *network) checkEpochs() {
	for _, g := range w.groups() {
		old := w.epochs[g.ID]
		w.epochs[g.ID] = g
		if old == nil || old.Epoch == g.Epoch {
			continue
		}
		for slot, id := range g.Nodes {
			if from := old.Nodes[slot]; from != id {
				w.checkHandOver(g, slot, w.byID[from], w.byID[id])
			}
		}
		w.checkReadable(g.ID)
	}
}

// checkHandOver checks a slot that has another holder. From one that leaves it
// takes over all that this one has, and has said that it has.
func (w *network) checkHandOver(g *order.Group, slot int, from, to *simNode) {
	w.tell("slot %d of group %d goes from %v to %v at epoch %d", slot, g.ID, from, to, g.Epoch)
	w.count("slots that went to others")
	if from.asked.IsZero() {
		from.checkLoss(g)
		return
	}
	if !from.alive() || !from.up || !from.isHonest() || !to.isHonest() {
		return
	}
	w.count("slots handed over by nodes that leave")
	for _, s := range w.uplink.inGroup[g.ID] {
		if !s.bad && from.holds(g.ID, slot, s.id) && from.hasClaimed(g.ID, s.id) && !to.has(g.ID, s.id) && w.time.Sub(s.entered) > fresh {
			w.fail("%v took over slot %d of group %d and lacks segment %s, which %v has", to, slot, g.ID, s.id, from)
			return
		}
	}
}

// checkLoss checks that an honest node has lost a slot for a reason: it, or a disk
// of it, was away
// lately, it could not claim by its clock, or it lacks something.
func (n *simNode) checkLoss(g *order.Group) {
	p := n.parts[g.ID]
	if !n.isHonest() || !n.up || n.impaired || n.time.Sub(n.risen) < days(1) || n.time.Sub(n.wronged) < days(3) || p != nil && len(p.missing) > 0 {
		return
	}
	n.fail("%v lost a slot of group %d for no reason", n, g.ID)
}

// has says whether a node has a shard of a segment, sound or not.
func (n *simNode) has(group uint32, id order.SegmentID) bool {
	p := n.parts[group]
	return p != nil && p.shards[id] != nil
}

// hasClaimed says whether the newest claim of a node covers a segment.
func (n *simNode) hasClaimed(group uint32, id order.SegmentID) bool {
	p := n.parts[group]
	return p.claim != nil && p.live[id] != nil && p.claim.Covers(p.live[id].Seq)
}

// checkDeparture checks the word that a node has left in good order.
func (n *simNode) checkDeparture(d *order.Departure) {
	if slots := n.sat.groups.held(n.id); slots != 0 {
		n.fail("%v is told that it has left, and has %d slots", n, slots)
	}
	n.count("departures")
	n.took("until a node that leaves has left", n.time.Sub(n.asked))
	n.tell("%v has left after handing over %d slots", n, d.Slots)
}

// rest has nothing befall the network any more, and all who are away come back.
// After some days everything must be in its place, and nothing else anywhere.
func (w *network) rest() {
	w.calm = true
	w.tell("the network is left in peace")
	w.after(days(1), func() {
		for _, n := range w.members() {
			n.ahead = 0
			n.rise()
		}
	})
	w.run(days(5))
	if w.wrong() {
		return
	}
	w.checkAll()
	w.checkStore()
	w.checkClaims()
	w.checkMoved()
	for _, g := range w.groups() {
		if what := w.lacking(g); what != "" {
			w.fail("after all, group %d is not whole: %s", g.ID, what)
		}
	}
	for _, n := range w.members() {
		if n.isHonest() && !n.left {
			n.checkHolds()
		}
	}
}

// checkMoved checks that making shards again has not cost much more than it has
// to: as many bytes as k of them have. Only who sends wrong bytes can make it dear.
func (w *network) checkMoved() {
	made := w.counts["bytes of them"]
	moved := w.counts["bytes they were made from"] + w.counts["bytes moved in vain"]
	if falsified := w.counts["liars: falsifying"]; falsified == 0 && w.counts["shards made again"] > 100 && 10*moved > 11*w.scheme.Required*made {
		w.fail("%d bytes were moved to make %d", moved, made)
	}
}

// checkHolds checks that a node has just what the journals say.
func (n *simNode) checkHolds() {
	for _, p := range n.inParts() {
		live := n.journalOf(p.group.ID)
		if _, holds := n.group(p.group.ID).SlotOf(n.id); !holds {
			live = nil
		}
		for _, id := range p.ids(func(*simShard) bool { return true }) {
			if live[id] == 0 {
				n.fail("after all, %v has segment %s of group %d, which does not count", n, id, p.group.ID)
				return
			}
		}
	}
}
