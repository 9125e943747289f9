package satellite

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
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
)

// leaser hands out order limits.
type leaser struct {
	key    ident.Key
	groups interface {
		forPut(exclude []uint32) (*group, error)
		get(id uint32) (*group, error)
	}
	nodes interface {
		addresses(ids []ident.ID) []*pb.NodeAddress
	}
	now  func() time.Time
	rand io.Reader
}

// forPut leases one group to put to.
func (l *leaser) forPut(ctx context.Context, exclude []uint32) (*pb.GroupLease, error) {
	if len(exclude) > maxExclude {
		return nil, fmt.Errorf("%w: %d groups excluded, at most %d", satclient.ErrBadRequest, len(exclude), maxExclude)
	}
	g, err := l.groups.forPut(exclude)
	if err != nil {
		return nil, err
	}
	return l.lease(ctx, g, order.ActionPut)
}

// forGet leases the groups named, each once.
func (l *leaser) forGet(ctx context.Context, ids []uint32) ([]*pb.GroupLease, error) {
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
		lease, err := l.lease(ctx, g, order.ActionGet)
		if err != nil {
			return nil, err
		}
		leases = append(leases, lease)
	}
	return leases, nil
}

// lease signs an order limit for the peer that asks.
func (l *leaser) lease(ctx context.Context, g *group, action order.Action) (*pb.GroupLease, error) {
	uplink, ok := transport.PeerFromContext(ctx)
	if !ok {
		return nil, fmt.Errorf("%w: the connection does not say who calls", satclient.ErrDenied)
	}
	serial, err := order.NewSerial(l.rand)
	if err != nil {
		return nil, err
	}
	now := l.now().Truncate(time.Second)
	limit, err := order.SignLimit(l.key, &order.Limit{
		Satellite: l.key.ID(),
		Serial:    serial,
		Uplink:    uplink,
		Group:     g.ID,
		Epoch:     g.Epoch,
		Action:    action,
		MaxBytes:  leaseBytes,
		Issued:    now,
		Expires:   now.Add(order.LimitLife),
	})
	if err != nil {
		return nil, err
	}
	return &pb.GroupLease{Group: g.record, Limit: limit, Nodes: l.nodes.addresses(g.Nodes)}, nil
}
