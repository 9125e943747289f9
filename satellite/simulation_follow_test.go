package satellite

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// simPage is how many journal entries a node asks for at a time: few, so that
// long journals have many pages here as well.
const simPage = 100

// quietCheckIns is how many check-ins lie between two claims on a group when
// nothing was lost (SPEC.md, "Claims").
const quietCheckIns = 10

// follow reads the journal of a group to its end, and says whether it got there.
func (n *simNode) follow(p *part) bool {
	for p.cursor != p.end {
		page := n.journal(p, p.cursor)
		switch {
		case page == nil:
			return false
		case page.Sparse:
			if !n.compare(p) {
				return false
			}
			continue
		case page.Through == p.cursor:
			return true
		}
		for _, e := range page.Entries {
			if e.Seq != p.cursor+1 {
				n.fail("%v: entry %d of group %d comes after %d", n, e.Seq, p.group.ID, p.cursor)
				return false
			}
			p.enter(e)
			p.cursor = e.Seq
		}
		p.changes++
	}
	return true
}

// journal asks for the page of a journal behind a number; nil when there is none.
func (n *simNode) journal(p *part, after uint64) *pb.JournalResponse {
	page, err := n.sat.nodes.Journal(n.ctx, &pb.JournalRequest{Group: p.group.ID, After: after, Limit: simPage})
	if err != nil {
		n.fail("%v cannot follow group %d: %v", n, p.group.ID, err)
		return nil
	}
	var head pb.JournalHead // its signature is taken on trust, which saves much time
	must(n.t, proto.Unmarshal(page.Head.Body, &head))
	if head.Group != p.group.ID || head.Head < p.cursor || page.Through > head.Head || page.Through < after {
		n.fail("%v has followed group %d to %d and is shown a page from %d to %d of a journal of %d",
			n, p.group.ID, p.cursor, after, page.Through, head.Head)
		return nil
	}
	return page
}

// compare reads all sparse pages, of which the node may have missed something,
// and has nothing but what they say.
func (n *simNode) compare(p *part) bool {
	n.count("journals compared as a whole")
	base := uint64(0)
	for after := uint64(0); ; {
		page := n.journal(p, after)
		switch {
		case page == nil:
			return false
		case !page.Sparse:
			p.cursor = max(p.cursor, after)
			return true
		case page.Base != base && base != 0:
			after, base = 0, 0
			continue
		}
		base = page.Base
		said := make(map[order.SegmentID]bool)
		for _, e := range page.Entries {
			said[segmentOf(e.Segment)] = true
		}
		for id, e := range p.live {
			if e.Seq > after && e.Seq <= page.Through && !said[id] {
				p.bury(id)
			}
		}
		for _, e := range page.Entries {
			p.enter(e)
		}
		after = page.Through
		p.changes++
	}
}

// bury deletes what there is of a segment.
func (p *part) bury(id order.SegmentID) {
	if e := p.live[id]; e != nil {
		delete(p.missing, e.Seq)
		delete(p.live, id)
	}
	delete(p.shards, id)
}

// enter deals with one entry of the journal.
func (p *part) enter(e *pb.Entry) {
	id := segmentOf(e.Segment)
	s := p.shards[id]
	if e.Kind == pb.EntryKind_ENTRY_KIND_TOMBSTONE {
		p.bury(id)
		return
	}
	p.live[id] = e
	if s != nil && bytes.Equal(s.root[:], e.Root) {
		s.live = true
		return
	}
	delete(p.shards, id)
	p.missing[e.Seq] = id
}

// expire deletes what was staged before a time and is not committed.
func (n *simNode) expire(p *part, before time.Time) {
	for id, s := range p.shards {
		if !s.live && s.stored.Before(before) {
			delete(p.shards, id)
			n.count("staged shards expired")
		}
	}
}

// simClaim is a claim as the node keeps it.
type simClaim struct {
	order.Claim
	signed  *pb.Signed
	digest  merkle.Hash
	changes int       // of the part, when it was made
	madeAt  int       // check-ins before
	known   bool      // the satellite has it, as far as the node knows
	taken   bool      // the satellite has taken in one since the node is up
	latest  time.Time // the date of the latest one that it has taken in
}

// claimAll hands in the claims that are due.
func (n *simNode) claimAll() {
	m := &pb.ClaimRequest{}
	var handed []*simClaim
	for _, p := range n.inParts() {
		if !p.told {
			continue
		}
		if c := n.due(p); c != nil {
			m.Claims, handed = append(m.Claims, c.signed), append(handed, c)
		}
	}
	if len(handed) == 0 || !n.sat.up {
		return
	}
	n.add("claims", len(handed))
	if _, err := n.sat.nodes.Claim(n.ctx, m); err != nil {
		// One ahead of the satellite cannot claim, nor, between check-ins, one that
		// has just lost a slot.
		if n.error() <= order.Skew && (n.seen.Equal(n.time) || isNot(err, satclient.ErrGroupNotFound)) {
			n.fail("%v cannot claim: %v", n, err)
		}
		return
	}
	for _, c := range handed {
		c.taken, c.known, c.latest = true, true, c.Issued
		n.checkClaim(c)
	}
}

// due is the claim to be handed in on a group, or nil.
func (n *simNode) due(p *part) *simClaim {
	last := p.claim
	next, pressing := n.look(p)
	if next != nil && (pressing || n.checkIns-last.madeAt >= quietCheckIns) {
		n.sign(p, next)
		return next
	}
	if last != nil && !last.known {
		again := &simClaim{Claim: last.Claim, changes: last.changes, madeAt: last.madeAt}
		n.sign(p, again)
		return again
	}
	return nil
}

// look makes the claim on what is held now, unless the last one says the same.
// It is pressing when the last one says what is not so any more.
func (n *simNode) look(p *part) (next *simClaim, pressing bool) {
	last := p.claim
	same := last != nil && last.Epoch == p.group.Epoch && last.Slot == p.slot
	if same && last.changes == p.changes {
		return nil, false
	}
	next = &simClaim{changes: p.changes, madeAt: n.checkIns, Claim: order.Claim{
		Node: n.id, Satellite: n.network.key.ID(), Group: p.group.ID, Epoch: p.group.Epoch, Slot: p.slot,
		Seq: p.cursor, Missing: n.lacks(p),
	}}
	if !same {
		return next, true
	}
	if next.Seq == last.Seq && slices.Equal(next.Missing, last.Missing) {
		last.changes = p.changes
		return nil, false
	}
	healed := len(next.Missing) == 0 && len(last.Missing) > 0
	before := seqset.Of(seqset.Run{First: 1, Last: last.Seq}).Subtract(last.Missing)
	return next, healed || len(before.Intersect(next.Missing)) > 0
}

// lacks is what a claim leaves out.
func (n *simNode) lacks(p *part) seqset.Set {
	if n.lie.claims() {
		return nil
	}
	numbers := make([]uint64, 0, len(p.missing))
	for seq := range p.missing {
		numbers = append(numbers, seq)
	}
	slices.Sort(numbers)
	return seqset.Numbers(numbers)
}

// sign signs a claim, which is the newest then.
func (n *simNode) sign(p *part, c *simClaim) {
	c.Issued = n.now().Truncate(time.Second)
	if last := p.claim; last != nil {
		c.taken, c.latest = last.taken, last.latest
		if c.Issued.Before(c.latest) { // the clock was set back
			c.Issued = c.latest
		}
	}
	var err error
	c.signed, err = order.SignClaim(n.key, &c.Claim)
	must(n.t, err)
	c.digest = order.Digest(c.signed)
	p.claim = c
}

// lost has the node take back at once what it claimed and has lost.
func (n *simNode) lost() {
	if n.up && n.sat.up && n.checkIns > 0 {
		n.claimAll()
	}
}

// depart notes that the node has left in good order.
func (n *simNode) depart(signed *pb.Signed) {
	if signed == nil {
		return
	}
	d, err := order.OpenDeparture(signed, n.network.key.ID())
	if err != nil || d.Node != n.id || n.asked.IsZero() {
		n.fail("%v is given a departure of %+v: %v", n, d, err)
		return
	}
	n.left = true
	n.checkDeparture(d)
}

// isNot tells an error from those that are to be expected.
func isNot(err error, expected ...error) bool {
	for _, e := range expected {
		if errors.Is(err, e) {
			return false
		}
	}
	return err != nil
}
