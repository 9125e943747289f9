package storagenode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

const (
	// quietCheckIns is how many check-ins lie between two claims on a group when
	// nothing was lost.
	quietCheckIns = 10

	// maxClaims and maxClaimBytes bound what is handed in with one call.
	maxClaims     = 128
	maxClaimBytes = satclient.MaxNodeMessage - 1<<10

	// maxMissing is how many bytes of a claim the numbers may take up that it
	// leaves out.
	maxMissing = order.MaxBody - 256

	troubleClaims = "claims"
)

// holdings is what the store says of a group; shardstore.Store does it.
type holdings interface {
	Revision(group uint32) uint64
	Cursor(group uint32) (uint64, error)
	MissingRuns(group uint32) (missing seqset.Set, revision uint64, err error)
}

// A claimer tells the satellite, signed, what the node holds: at once when
// something was lost or nothing is missing any more, otherwise now and then.
type claimer struct {
	key       ident.Key
	satellite ident.ID
	store     holdings
	parts     func() []part
	hand      func(context.Context, *pb.ClaimRequest) (*pb.ClaimResponse, error)
	now       func() time.Time
	trouble   func(error) // is told how it went
	wake      chan struct{}

	mu       sync.Mutex
	checkIns int // so far
	newest   map[uint32]*claimMade
}

// claimMade is the newest claim on a group.
type claimMade struct {
	order.Claim
	signed   *pb.Signed
	digest   merkle.Hash
	revision uint64 // of the store, up to which the claim says all there is to say
	madeAt   int    // check-ins before it was signed
	handedAt int    // check-ins before it was handed in
	handed   bool
	taken    bool // the satellite says that it has it, or one before it since the start

	latest time.Time // the date of the latest one that the satellite has taken in
}

func newClaimer(n *Node) *claimer {
	return &claimer{
		key: n.key, satellite: n.satellite.ID, store: n.store, parts: n.parts, hand: n.client.Claim, now: n.config.Now,
		trouble: func(err error) { n.setTrouble(troubleClaims, err) },
		wake:    make(chan struct{}, 1), newest: make(map[uint32]*claimMade),
	}
}

// checkedIn is called after every check-in.
func (c *claimer) checkedIn() {
	c.mu.Lock()
	c.checkIns++
	c.mu.Unlock()
	c.lost()
}

// lost is called when a shard was lost, or the last that was missing is there.
func (c *claimer) lost() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// claimed is the newest claim on a group, once the satellite says
// that it has one from since the start: it may be slow to take one in.
func (c *claimer) claimed(group uint32) (claim NamedClaim, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.newest[group]
	if m == nil || !m.taken {
		return NamedClaim{}, false
	}
	return NamedClaim{m.Claim, m.digest}, true
}

// run claims whenever it is woken.
func (c *claimer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
		if err := c.round(ctx); ctx.Err() == nil {
			c.trouble(err)
		}
	}
}

// round hands in all claims that are due.
func (c *claimer) round(ctx context.Context) error {
	var due []*claimMade
	var errs []error
	parts := c.parts()
	c.keep(parts)
	for i := range parts {
		if !parts[i].told || !parts[i].settled {
			continue
		}
		m, err := c.due(&parts[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("group %d: %w", parts[i].group.ID, err))
		} else if m != nil {
			due = append(due, m)
		}
	}
	for len(due) > 0 {
		n := fitting(due)
		errs = append(errs, c.handIn(ctx, due[:n]))
		due = due[n:]
	}
	return errors.Join(errs...)
}

// keep forgets claims on groups that the node has no part in any more.
func (c *claimer) keep(parts []part) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.newest
	c.newest = make(map[uint32]*claimMade, len(parts))
	for i := range parts {
		if m := before[parts[i].group.ID]; m != nil {
			c.newest[m.Group] = m
		}
	}
}

// due is the claim to be handed in on a group, or nil: a new one, or the newest
// again if the satellite does not have it.
func (c *claimer) due(p *part) (*claimMade, error) {
	c.mu.Lock()
	last, checkIns := c.newest[p.group.ID], c.checkIns
	c.mu.Unlock()
	next, pressing, err := c.look(p, last)
	if err != nil {
		return nil, err
	}
	// Who is to take over a slot is waited for.
	pressing = pressing || next != nil && p.successor && len(next.Missing) == 0 && checkIns > last.madeAt
	if next != nil && (pressing || checkIns-last.madeAt >= quietCheckIns) {
		next.madeAt = checkIns
		return next, c.sign(next, last)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case last == nil:
	case bytes.Equal(p.claim, last.digest[:8]):
		last.taken, last.latest = true, last.Issued
	case !last.handed && !last.Issued.After(c.now()):
		return last, nil
	case !last.handed || checkIns > last.handedAt: // otherwise the news are older
		// It may have one that is dated later, from before the clock was set back
		// and the node restarted, so the old date would never do. Nor would the
		// date of a clock that was ahead, which it refuses.
		again := &claimMade{Claim: last.Claim, revision: last.revision, madeAt: last.madeAt}
		return again, c.signLocked(again, last)
	}
	return nil, nil
}

// look makes the claim on what is held now, not yet signed, unless the last one
// says the same. It is pressing when the last one says what is not so any more,
// and when all is held that it left out.
func (c *claimer) look(p *part, last *claimMade) (next *claimMade, pressing bool, err error) {
	same := last != nil && last.Epoch == p.group.Epoch && last.Slot == p.slot
	if same && last.revision == c.store.Revision(p.group.ID) {
		return nil, false, nil
	}
	seq, err := c.store.Cursor(p.group.ID) // before what is missing: it may be missing more by then
	if err != nil {
		return nil, false, err
	}
	missing, revision, err := c.store.MissingRuns(p.group.ID)
	if err != nil {
		return nil, false, err
	}
	missing = missing.Intersect(seqset.Of(seqset.Run{First: 1, Last: seq}))
	next = &claimMade{revision: revision, Claim: order.Claim{
		Node: c.key.ID(), Satellite: c.satellite, Group: p.group.ID, Epoch: p.group.Epoch, Slot: p.slot,
		Seq: seq, Missing: coarsen(missing),
	}}
	if !same {
		return next, true, nil
	}
	if seq == last.Seq && slices.Equal(next.Missing, last.Missing) {
		last.revision = revision
		return nil, false, nil
	}
	healed := len(missing) == 0 && (len(last.Missing) > 0 || last.Seq == 0)
	return next, healed || last.overstates(seq, missing), nil
}

// overstates reports whether a claim covers what is not held any more.
func (m *claimMade) overstates(seq uint64, missing seqset.Set) bool {
	covered := seqset.Of(seqset.Run{First: 1, Last: m.Seq}).Subtract(m.Missing)
	return seq < m.Seq || len(covered.Intersect(missing)) > 0
}

// coarsen makes what is missing fit into a claim, which then leaves out more.
func coarsen(missing seqset.Set) seqset.Set {
	for runs := order.MaxClaimRuns; ; runs -= runs / 4 {
		missing = missing.Coarsen(runs)
		if len(missing.Encode(nil)) <= maxMissing {
			return missing
		}
	}
}

// sign signs a claim, which is the newest then.
func (c *claimer) sign(next, last *claimMade) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.signLocked(next, last)
}

func (c *claimer) signLocked(next, last *claimMade) (err error) {
	next.Issued = c.now().Truncate(time.Second)
	if last != nil {
		next.taken, next.latest = last.taken, last.latest
		if next.Issued.Before(next.latest) { // the clock was set back, and the later one counts
			next.Issued = next.latest
		}
	}
	if next.signed, err = order.SignClaim(c.key, &next.Claim); err != nil {
		return fmt.Errorf("sign a claim: %w", err)
	}
	next.digest = order.Digest(next.signed)
	c.newest[next.Group] = next
	return nil
}

// fitting is how many of the claims, at least one, go into one call.
func fitting(due []*claimMade) (n int) {
	bytes := 0
	for n < len(due) && n < maxClaims {
		bytes += proto.Size(&pb.ClaimRequest{Claims: []*pb.Signed{due[n].signed}})
		if n > 0 && bytes > maxClaimBytes {
			break
		}
		n++
	}
	return n
}

func (c *claimer) handIn(ctx context.Context, claims []*claimMade) error {
	req := &pb.ClaimRequest{}
	for _, m := range claims {
		req.Claims = append(req.Claims, m.signed)
	}
	c.mu.Lock()
	handedAt := c.checkIns
	c.mu.Unlock()
	if _, err := c.hand(ctx, req); err != nil {
		return fmt.Errorf("hand in claims: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range claims {
		m.handed, m.handedAt, m.latest = true, handedAt, m.Issued
	}
	return nil
}
