package satellite

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

const (
	// leaseBytes is what one order limit allows at each node: an hour at
	// 140 Mbit/s. Whoever needs more asks again.
	leaseBytes = 64 << 30
	// maxLeases bounds the groups of one request.
	maxLeases = 64
	// maxExclude bounds the groups that one request for a put avoids.
	maxExclude = 1024
	// reuse is for how long an uplink that asks again gets the same order limit.
	reuse = time.Minute
	// leaseBurst and leaseRate (a second) bound the order limits of a project.
	// Nodes remember each that is used until it expires, and have no room for
	// all that could be signed.
	leaseBurst = 4096
	leaseRate  = 32
)

// nobody stands for the project of a storage node that reads from its peers.
const nobody meta.ProjectNumber = 0

// leaser hands out order limits.
type leaser struct {
	key    ident.Key
	groups interface {
		forPut(exclude []uint32) (*group, error)
		get(id uint32) (*group, error)
	}
	nodes interface {
		addresses(ids []ident.ID, put bool) []*pb.NodeAddress
	}
	now  func() time.Time
	rand io.Reader

	mu     sync.Mutex
	since  time.Time          // when issued was emptied
	issued map[use]*pb.Signed // order limits
	spent  map[meta.ProjectNumber]*allowance
	counts leaseCounts
}

// use is what an order limit is good for.
type use struct {
	project meta.ProjectNumber
	uplink  ident.ID
	group   uint32
	epoch   uint64
	action  order.Action
}

// forPut leases one group to put to.
func (l *leaser) forPut(ctx context.Context, project meta.ProjectNumber, exclude []uint32) (*pb.GroupLease, error) {
	if len(exclude) > maxExclude {
		return nil, fmt.Errorf("%w: %d groups excluded, at most %d", satclient.ErrBadRequest, len(exclude), maxExclude)
	}
	g, err := l.groups.forPut(exclude)
	if err != nil {
		return nil, err
	}
	return l.lease(ctx, project, g, order.ActionPut)
}

// forGet leases the groups named, each once.
func (l *leaser) forGet(ctx context.Context, project meta.ProjectNumber, ids []uint32) ([]*pb.GroupLease, error) {
	if len(ids) > maxLeases {
		return nil, fmt.Errorf("%w: %d groups, at most %d", satclient.ErrBadRequest, len(ids), maxLeases)
	}
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	leases := make([]*pb.GroupLease, 0, len(ids))
	for _, id := range ids {
		g, err := l.groups.get(id)
		if err != nil {
			return nil, err
		}
		lease, err := l.lease(ctx, project, g, order.ActionGet)
		if err != nil {
			return nil, err
		}
		leases = append(leases, lease)
	}
	return leases, nil
}

// lease gives the peer that asks an order limit.
func (l *leaser) lease(ctx context.Context, project meta.ProjectNumber, g *group, action order.Action) (*pb.GroupLease, error) {
	uplink, ok := transport.PeerFromContext(ctx)
	if !ok {
		return nil, fmt.Errorf("%w: the connection does not say who calls", satclient.ErrDenied)
	}
	limit, err := l.limit(use{project, uplink, g.ID, g.Epoch, action})
	if err != nil {
		return nil, err
	}
	return &pb.GroupLease{Group: g.record, Limit: limit, Nodes: l.nodes.addresses(g.Nodes, action == order.ActionPut)}, nil
}

// limit returns an order limit that was signed just now or a moment ago.
func (l *leaser) limit(u use) (*pb.Signed, error) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if age := now.Sub(l.since); age >= reuse || age < 0 || l.issued == nil {
		l.issued, l.since = make(map[use]*pb.Signed), now
	}
	if limit := l.issued[u]; limit != nil {
		return limit, nil
	}
	if u.project != nobody && !l.allow(u.project, now) { // nodes are bounded by the call
		return nil, fmt.Errorf("%w: too many leases for one project", satclient.ErrBusy)
	}
	serial, err := order.NewSerial(l.rand)
	if err != nil {
		return nil, err
	}
	issued := now.Truncate(time.Second)
	limit, err := order.SignLimit(l.key, &order.Limit{
		Satellite: l.key.ID(),
		Serial:    serial,
		Uplink:    u.uplink,
		Group:     u.group,
		Epoch:     u.epoch,
		Action:    u.action,
		MaxBytes:  leaseBytes,
		Issued:    issued,
		Expires:   issued.Add(order.LimitLife),
	})
	if err == nil {
		l.issued[u] = limit
		l.counts.signed(u.action)
	}
	return limit, err
}

// allow takes one of a project's order limits. mu is held.
func (l *leaser) allow(project meta.ProjectNumber, now time.Time) bool {
	if l.spent == nil {
		l.spent = make(map[meta.ProjectNumber]*allowance)
	}
	if l.spent[project] == nil {
		l.spent[project] = new(allowance)
	}
	return l.spent[project].take(now, 1, leaseRate, leaseBurst)
}

// allowance is how much may be done at once; the zero value is as much as ever.
type allowance struct {
	left float64
	at   time.Time
}

// take takes n, if there are as many, of what grows by rate a second up to burst.
func (a *allowance) take(now time.Time, n, rate, burst float64) bool {
	if gone := now.Sub(a.at).Seconds(); gone > 0 {
		a.left = min(a.left+gone*rate, burst)
		a.at = now
	}
	if a.left < n {
		return false
	}
	a.left -= n
	return true
}
