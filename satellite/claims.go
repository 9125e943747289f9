package satellite

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

const (
	// maxClaims bounds the claims of one request.
	maxClaims = 256
	// claimBurst and claimRate (a second) bound the claims of one node. Each
	// costs the check of a signature.
	claimBurst = 2048
	claimRate  = 64
)

// claim is what a node said that it holds for a slot. It is never changed.
type claim struct {
	order.Claim
	signed *pb.Signed // exactly as the node made it: evidence
	digest [8]byte    // by which a node tells whether its newest claim has come
	// lost is what the node covered by an earlier claim and has not since:
	// what it says itself that it lost. lostAt is when that grew last.
	lost   seqset.Set
	lostAt time.Time
}

func newClaim(c *order.Claim, signed *pb.Signed) *claim {
	hash := sha256.Sum256(signed.Body)
	return &claim{Claim: *c, signed: signed, digest: [8]byte(hash[:8])}
}

func (c *claim) key() meta.ClaimKey { return meta.ClaimKey{Group: c.Group, Slot: c.Slot, Node: c.Node} }

// covered is the numbers that a claim covers.
func (c *claim) covered() seqset.Set {
	return seqset.Of(seqset.Run{First: 1, Last: c.Seq}).Subtract(c.Missing)
}

// follow counts what of the claim before is not covered any more.
func (c *claim) follow(old *claim, now time.Time) {
	covered := c.covered()
	gone := old.covered().Subtract(covered)
	c.lost = old.lost.Subtract(covered).Union(gone).Coarsen(order.MaxClaimRuns)
	c.lostAt = old.lostAt
	if len(gone) > 0 {
		c.lostAt = now.Truncate(time.Second)
	}
}

// claims is the newest claim of every node on every slot that it holds or is to
// take over. It is safe for concurrent use.
type claims struct {
	meta *meta.Store
	now  func() time.Time

	mu     sync.Mutex
	newest map[meta.ClaimKey]*claim
	dirty  map[meta.ClaimKey]bool // to be stored
}

// openClaims reads the claims there are and forgets those of nodes that have
// nothing to claim any more.
func openClaims(ctx context.Context, store *meta.Store, groups *groups, now func() time.Time, log *slog.Logger) (*claims, error) {
	c := &claims{
		meta: store, now: now,
		newest: make(map[meta.ClaimKey]*claim), dirty: make(map[meta.ClaimKey]bool),
	}
	known, err := store.Claims(ctx)
	if err != nil {
		return nil, err
	}
	var stale []meta.ClaimKey
	entitled := known[:0]
	for _, k := range known {
		if groups.entitled(k.ClaimKey) {
			entitled = append(entitled, k)
		} else {
			stale = append(stale, k.ClaimKey)
		}
	}
	opened, errs := openStored(entitled)
	for i := range entitled {
		k := &entitled[i]
		if err := errs[i]; err != nil {
			log.Warn("dropping a stored claim; its node will send it again", "node", k.Node, "group", k.Group, "error", err)
			stale = append(stale, k.ClaimKey)
			continue
		}
		kept := newClaim(opened[i], k.Signed)
		kept.lost, kept.lostAt = k.Lost, k.LostAt
		c.newest[k.ClaimKey] = kept
	}
	return c, store.DeleteClaims(ctx, stale)
}

// openStored opens stored claims on all processors: a start waits for it. Either
// the claim or the error in the place of each is nil.
func openStored(stored []meta.Claim) ([]*order.Claim, []error) {
	opened, errs := make([]*order.Claim, len(stored)), make([]error, len(stored))
	workers := runtime.GOMAXPROCS(0)
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for i := worker; i < len(stored); i += workers {
				opened[i], errs[i] = order.OpenClaim(stored[i].Signed, stored[i].Node)
			}
		})
	}
	group.Wait()
	return opened, errs
}

// take takes in a claim, unless a later one is known.
func (c *claims) take(n *claim) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := n.key()
	if old := c.newest[k]; old != nil {
		if n.Issued.Before(old.Issued) || n.digest == old.digest {
			return
		}
		n.follow(old, c.now())
	}
	c.newest[k] = n
	c.dirty[k] = true
}

// get returns the newest claim of a node on a slot; nil when it made none.
func (c *claims) get(k meta.ClaimKey) *claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newest[k]
}

// of returns, by slot, the newest claims of the nodes that hold a group; nil for
// those that made none.
func (c *claims) of(g *group) []*claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]*claim, len(g.Nodes))
	for slot, id := range g.Nodes {
		list[slot] = c.newest[meta.ClaimKey{Group: g.ID, Slot: slot, Node: id}]
	}
	return list
}

// store writes the claims that came since the last time, and forgets those of
// nodes that are not entitled to them any more.
func (c *claims) store(ctx context.Context, entitled func(meta.ClaimKey) bool) error {
	c.mu.Lock()
	var records []meta.Claim
	var stale []meta.ClaimKey
	for k := range c.dirty {
		n := c.newest[k]
		switch {
		case n == nil: // dropped meanwhile
		case entitled(k):
			records = append(records, meta.Claim{ClaimKey: k, Signed: n.signed, Lost: n.lost, LostAt: n.lostAt})
		default:
			stale = append(stale, k)
			delete(c.newest, k)
		}
	}
	clear(c.dirty)
	c.mu.Unlock()
	err := c.meta.PutClaims(ctx, records)
	if err == nil {
		err = c.meta.DeleteClaims(ctx, stale)
	}
	if err != nil {
		c.mu.Lock()
		for i := range records {
			c.dirty[records[i].ClaimKey] = true
		}
		c.mu.Unlock()
	}
	return err
}

// drop forgets a node's claim on a slot.
func (c *claims) drop(ctx context.Context, k meta.ClaimKey) error {
	c.mu.Lock()
	delete(c.newest, k)
	delete(c.dirty, k)
	c.mu.Unlock()
	return c.meta.DeleteClaims(ctx, []meta.ClaimKey{k})
}

// dropGroup forgets all claims on a group.
func (c *claims) dropGroup(ctx context.Context, group uint32) error {
	var gone []meta.ClaimKey
	c.mu.Lock()
	for k := range c.newest {
		if k.Group == group {
			gone = append(gone, k)
			delete(c.newest, k)
			delete(c.dirty, k)
		}
	}
	c.mu.Unlock()
	return c.meta.DeleteClaims(ctx, gone)
}

// storeClaims stores what came since the last time.
func (s *Satellite) storeClaims(ctx context.Context) error {
	return s.claims.store(ctx, s.groups.entitled)
}

// Claim implements pb.NodesServer. Each claim counts for itself; the error is
// about the first that does not.
func (s *nodesServer) Claim(ctx context.Context, m *pb.ClaimRequest) (*pb.ClaimResponse, error) {
	id, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	if len(m.Claims) > maxClaims {
		return nil, fmt.Errorf("%w: %d claims at once, at most %d", satclient.ErrBadRequest, len(m.Claims), maxClaims)
	}
	if err := s.registry.spend(id, callClaim, len(m.Claims)); err != nil {
		return nil, err
	}
	var refused error
	for _, signed := range m.Claims {
		if err := s.takeClaim(ctx, id, signed); err != nil && refused == nil {
			refused = err
		}
	}
	if refused != nil {
		return nil, refused
	}
	return &pb.ClaimResponse{}, nil
}

// takeClaim checks a claim that a node hands in, and takes it in.
func (s *Satellite) takeClaim(ctx context.Context, id ident.ID, signed *pb.Signed) error {
	c, err := order.OpenClaim(signed, id)
	if err != nil {
		return fmt.Errorf("%w: %w", satclient.ErrBadRequest, err)
	}
	if c.Satellite != s.key.ID() {
		return fmt.Errorf("%w: the claim on group %d is for satellite %s", satclient.ErrBadRequest, c.Group, c.Satellite)
	}
	g, err := s.groups.get(c.Group)
	if err != nil {
		return err
	}
	n := newClaim(c, signed)
	switch now := s.now(); {
	case !g.entitled(n.key()):
		return fmt.Errorf("%w: slot %d of group %d is not held by %s", satclient.ErrGroupNotFound, c.Slot, c.Group, id)
	case c.Epoch > g.Epoch:
		return fmt.Errorf("%w: group %d is at epoch %d, and claimed of epoch %d", satclient.ErrBadRequest, c.Group, g.Epoch, c.Epoch)
	case c.Issued.After(now.Add(order.Skew)):
		return fmt.Errorf("%w: the claim on group %d is dated %v ahead", satclient.ErrBadRequest, c.Group, c.Issued.Sub(now).Round(time.Second))
	}
	journals, err := s.meta.Journals(ctx, []uint32{c.Group}) // read after the node did
	if err != nil {
		return err
	}
	if s.ahead(id, []*pb.Cursor{{Group: c.Group, Seq: c.Seq}}, journals) {
		s.registry.disconnected(id)
		return fmt.Errorf("%w: group %d is claimed up to %d, and its journal ends at %d",
			satclient.ErrBadRequest, c.Group, c.Seq, journals[c.Group].Head)
	}
	if c.Seq < journals[c.Group].Base {
		// The node has to compare what it holds with the journal first. By that
		// its numbers may come to mean something else, if entries were lost.
		return nil
	}
	s.claims.take(n)
	return nil
}
