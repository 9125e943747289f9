package uplink

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// leaseMargin is how much life an order limit must have left to be used: what
// is begun with it has to end within it.
const leaseMargin = 5 * time.Minute

// lease is verified permission to use one placement group in one way.
type lease struct {
	group  *order.Group
	limit  *order.Limit
	signed *pb.GroupLease // group record and limit as they are shown to nodes
	nodes  []leaseNode    // by slot
	until  time.Time      // by this machine's clock, which may differ from the satellite's
	opened time.Time      // when it came: nodeclient tells the satellite's time by it
	used   atomic.Int64   // bytes asked of the node that was asked for most, by who uses the lease
}

// leaseNode is how to reach the holder of a slot. The satellite's word on who
// is online is a hint.
type leaseNode struct {
	address transport.Address
	online  bool
}

// fresh tells whether a lease has the time and bytes for some segments more.
func (l *lease) fresh(now time.Time) bool {
	return now.Before(l.until) && l.used.Load() <= l.limit.MaxBytes-l.limit.MaxBytes/8
}

// leases keeps the leases of a project for reuse: one serves many segments
// and many objects. It is safe for concurrent use.
type leases struct {
	sat       *satclient.Client
	satellite ident.ID
	self      ident.ID
	now       func() time.Time

	mu  sync.Mutex
	put *lease            // the group being filled, if any
	get map[uint32]*lease // by group
	ask chan struct{}     // holds one token: who has it asks the satellite
}

// maxGetLeases bounds the remembered leases for reading.
const maxGetLeases = 1024

func newLeases(sat *satclient.Client, satellite, self ident.ID, now func() time.Time) *leases {
	return &leases{
		sat: sat, satellite: satellite, self: self, now: now,
		get: make(map[uint32]*lease), ask: make(chan struct{}, 1),
	}
}

// forPut returns a lease to put into some group that is not excluded: the one
// in use, or a new one from the satellite. Concurrent callers share it.
func (ls *leases) forPut(ctx context.Context, exclude []uint32) (*lease, error) {
	if l := ls.usablePut(exclude); l != nil {
		return l, nil
	}
	select { // one asks, the others wait for what it gets
	case ls.ask <- struct{}{}:
		defer func() { <-ls.ask }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l := ls.usablePut(exclude); l != nil {
		return l, nil
	}
	fresh, err := ls.request(ctx, &pb.LeaseRequest{Action: pb.Action_ACTION_PUT, Exclude: exclude})
	if err != nil {
		return nil, err
	}
	if len(fresh) != 1 {
		return nil, fmt.Errorf("%w: the satellite answered with %d leases where one was asked for", ErrCorrupt, len(fresh))
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.put = fresh[0]
	return fresh[0], nil
}

func (ls *leases) usablePut(exclude []uint32) *lease {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l := ls.put; l != nil && l.fresh(ls.now()) && !slices.Contains(exclude, l.group.ID) {
		return l
	}
	return nil
}

// forGet returns a lease to read from a group.
func (ls *leases) forGet(ctx context.Context, group uint32) (*lease, error) {
	ls.mu.Lock()
	l := ls.get[group]
	ls.mu.Unlock()
	if l != nil && l.fresh(ls.now()) {
		return l, nil
	}
	fresh, err := ls.request(ctx, &pb.LeaseRequest{Action: pb.Action_ACTION_GET, Groups: []uint32{group}})
	if err != nil {
		return nil, err
	}
	if len(fresh) != 1 || fresh[0].group.ID != group {
		return nil, fmt.Errorf("%w: the satellite did not answer with a lease for group %d", ErrCorrupt, group)
	}
	ls.remember(fresh)
	return fresh[0], nil
}

// learn returns the leases for reading that came with an object, verified. One
// that says nothing new stands for the lease known already, which saves the
// work: every answer about an object carries leases.
func (ls *leases) learn(signed []*pb.GroupLease) ([]*lease, error) {
	out := make([]*lease, len(signed))
	var fresh []*lease
	for i, s := range signed {
		if out[i] = ls.known(s); out[i] != nil {
			continue
		}
		opened, err := ls.open(signed[i:i+1], order.ActionGet)
		if err != nil {
			return nil, err
		}
		out[i] = opened[0]
		fresh = append(fresh, opened...)
	}
	ls.remember(fresh)
	return out, nil
}

// known finds the lease for reading with this very group record and these
// nodes, if it can still be used.
func (ls *leases) known(signed *pb.GroupLease) *lease {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	now := ls.now()
	for _, l := range ls.get {
		if proto.Equal(l.signed.Group, signed.GetGroup()) && l.fresh(now) &&
			slices.EqualFunc(l.signed.Nodes, signed.Nodes, func(a, b *pb.NodeAddress) bool { return proto.Equal(a, b) }) {
			return l
		}
	}
	return nil
}

// remember keeps leases for reading.
func (ls *leases) remember(fresh []*lease) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if len(ls.get)+len(fresh) > maxGetLeases {
		clear(ls.get)
	}
	for _, l := range fresh {
		ls.get[l.group.ID] = l
	}
}

// drop forgets a lease that nodes no longer honour or whose group failed, so
// that the next caller gets another.
func (ls *leases) drop(l *lease) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.put == l {
		ls.put = nil
	}
	if ls.get[l.group.ID] == l {
		delete(ls.get, l.group.ID)
	}
}

func (ls *leases) request(ctx context.Context, req *pb.LeaseRequest) ([]*lease, error) {
	res, err := ls.sat.Lease(ctx, req)
	if err != nil {
		return nil, err
	}
	return ls.open(res.Leases, order.Action(req.Action))
}

func (ls *leases) open(signed []*pb.GroupLease, action order.Action) ([]*lease, error) {
	out := make([]*lease, len(signed))
	for i, s := range signed {
		l, err := openLease(s, ls.satellite, ls.self, action, ls.now())
		if err != nil {
			return nil, fmt.Errorf("%w: the satellite's lease: %w", ErrCorrupt, err)
		}
		out[i] = l
	}
	return out, nil
}

// openLease verifies what the satellite signed. Addresses are not signed: a
// wrong one leads to a peer with another id, which the transport refuses.
func openLease(signed *pb.GroupLease, satellite, self ident.ID, action order.Action, now time.Time) (*lease, error) {
	group, err := order.OpenGroup(signed.GetGroup(), satellite)
	if err != nil {
		return nil, err
	}
	limit, err := order.OpenLimit(signed.GetLimit(), satellite)
	if err != nil {
		return nil, err
	}
	// The limit has just come, so its life is counted from now: a clock that is
	// wrong on this side should not keep anybody from their files.
	use := order.Use{Peer: self, Action: action, Group: group.ID, Epoch: group.Epoch, Now: limit.Issued}
	if err := limit.Check(use); err != nil {
		return nil, err
	}
	l := &lease{
		group: group, limit: limit, signed: signed,
		nodes:  make([]leaseNode, len(group.Nodes)),
		until:  now.Add(limit.Expires.Sub(limit.Issued) - leaseMargin),
		opened: time.Now(),
	}
	for slot, id := range group.Nodes {
		l.nodes[slot].address.ID = id
		if slot < len(signed.Nodes) {
			l.nodes[slot].address.Addrs = signed.Nodes[slot].GetAddresses()
			l.nodes[slot].online = signed.Nodes[slot].GetOnline()
		}
	}
	return l, nil
}
