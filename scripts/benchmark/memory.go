package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairnstorage/cairn/deploy/procnet"
	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/scripts/benchmark/results"
	"github.com/cairnstorage/cairn/storagenode/nodeclient"
)

const (
	shardsAtOnce    = 64
	idleConnections = 200
	huge            = 4 << 30
	// idleFor is how long nothing is done before memory is said to be idle.
	idleFor = 3 * time.Second
)

func (r *rig) remember(what string, bytes int64, rate float64) {
	r.report.Memory = append(r.report.Memory, results.Memory{Place: r.place.Name, Scheme: r.scheme.String(), What: what, Bytes: bytes, Rate: rate})
}

// measureIdle takes the memory of a network that was just started.
func (r *rig) measureIdle(ctx context.Context) error {
	select {
	case <-time.After(idleFor):
	case <-ctx.Done():
		return ctx.Err()
	}
	var most int64
	for _, node := range r.network.Nodes {
		most = max(most, node.Usage().RSS)
	}
	r.remember("an idle node", most, 0)
	r.remember("an idle satellite", r.network.Satellite.Usage().RSS, 0)
	return nil
}

func (b *bench) measureMemory(ctx context.Context) error {
	p := b.places[0]
	err := b.withNetwork(ctx, p, procnet.Config{Scheme: b.o.schemes[0]}, func(r *rig) error {
		r.say("memory of connections")
		if err := r.measureConnections(ctx); err != nil {
			return err
		}
		r.say("memory of a node that takes in %d shards", shardsAtOnce)
		return r.measureShards(ctx)
	})
	if err != nil || !b.o.long {
		return err
	}
	for _, scheme := range slices.Compact([]string{b.o.schemes[0], b.o.schemes[len(b.o.schemes)-1]}) {
		err := b.withNetwork(ctx, p, procnet.Config{Scheme: scheme}, func(r *rig) error {
			r.say("memory of an upload and a download of 4 GiB")
			return r.measureHuge(ctx)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// measureConnections holds connections to a node that nothing is done with.
func (r *rig) measureConnections(ctx context.Context) error {
	info, err := r.network.NodeInfo(ctx, 0)
	if err != nil {
		return err
	}
	address, err := transport.ParseAddress(info.Addresses[0])
	if err != nil {
		return err
	}
	before := r.network.Nodes[0].Usage().RSS
	for range idleConnections {
		host, err := newHost()
		if err != nil {
			return err
		}
		defer host.Close()
		if err := host.Connect(ctx, address); err != nil {
			return fmt.Errorf("connect to a node: %w", err)
		}
	}
	time.Sleep(idleFor)
	after := r.network.Nodes[0].Usage().RSS
	r.remember(fmt.Sprintf("an idle connection, of %d, at the node", idleConnections), (after-before)/idleConnections, 0)
	return nil
}

// measureShards puts shards of whole segments on one node, all at once.
func (r *rig) measureShards(ctx context.Context) error {
	shard, err := r.newTestShard()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	begun := time.Now()
	ready := make(chan struct{}, shardsAtOnce)
	for range shardsAtOnce {
		callers, done, err := r.callers(1)
		if err != nil {
			return err
		}
		defer done()
		group.Go(func() error { return shard.put(ctx, callers[0], ready) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("put a shard: %w", err)
	}
	rate := float64(shardsAtOnce*shard.layout.ShardSize()) / 1e6 / time.Since(begun).Seconds()
	var most int64
	for _, node := range r.network.Nodes {
		most = max(most, node.Usage().PeakRSS)
	}
	r.remember(fmt.Sprintf("a node under %d uploads of %d MiB each", shardsAtOnce, shard.layout.ShardSize()>>20), most, rate)
	return nil
}

// testShard is a shard for the first slot of the group that an uplink is given.
type testShard struct {
	layout erasure.Layout
	frame  []byte // all its frames are alike
	root   merkle.Hash
}

func (r *rig) newTestShard() (*testShard, error) {
	required := r.scheme.Required
	size := int64(erasure.MaxStripes(required)) * int64(required) * erasure.ChunkSize
	s := &testShard{frame: make([]byte, wire.HeaderSize+erasure.ChunkSize)}
	rand.Read(s.frame)
	var err error
	if s.layout, err = erasure.NewLayout(required, r.scheme.Total, size); err != nil {
		return nil, err
	}
	hasher := merkle.NewHasher(s.layout.ShardSize())
	for hasher.Size() < s.layout.ShardSize() {
		hasher.Write(s.frame[wire.HeaderSize:])
	}
	s.root = hasher.Root()
	return s, nil
}

// put puts the shard as part of a segment of its own. It ends only when all
// uploads have sent their last byte, so that they are all under way at once.
func (s *testShard) put(ctx context.Context, c caller, sent chan struct{}) error {
	lease, address, err := c.lease(ctx)
	if err != nil {
		return err
	}
	stream, err := nodeclient.Dialer{Host: c.host}.OpenPut(ctx, address, lease)
	if err != nil {
		return err
	}
	defer stream.Close()
	var id order.SegmentID
	rand.Read(id[:])
	if err := stream.Begin(id, s.layout.ShardSize()); err != nil {
		return err
	}
	frame := append([]byte(nil), s.frame...) // its header is written over
	for left := s.layout.ShardSize(); left > 0; left -= erasure.ChunkSize {
		if err := stream.Data(frame); err != nil {
			return err
		}
	}
	sent <- struct{}{}
	for len(sent) < cap(sent) && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	roots := make([]merkle.Hash, s.layout.Total)
	roots[0] = s.root
	if err := stream.End(s.layout, merkle.SegmentRoot(s.layout, roots), roots); err != nil {
		return err
	}
	_, _, err = stream.Answer()
	return err
}

// lease is permission to put to a group, with where its first slot is.
func (c caller) lease(ctx context.Context) (lease nodeclient.Lease, address transport.Address, err error) {
	res, err := c.Lease(ctx, &pb.LeaseRequest{Action: pb.Action_ACTION_PUT})
	if err != nil {
		return lease, address, err
	}
	l := res.Leases[0]
	if lease, err = nodeclient.OpenLease(l.Group, l.Limit, c.satellite); err != nil {
		return lease, address, err
	}
	address, err = transport.JoinAddress(lease.Group.Nodes[0], l.Nodes[0].Addresses)
	return lease, address, err
}

// measureHuge moves 4 GiB through commands of their own, from and to a pipe.
func (r *rig) measureHuge(ctx context.Context) error {
	up := r.network.Uplink(ctx, "-q", "cp", "-", url("huge"))
	up.Stdin = io.LimitReader(randomBytes(), huge)
	spent, err := costOf(r.network, up, r.stored(huge))
	if err != nil {
		return err
	}
	rate := func(c cost) float64 { return huge / 1e6 / c.wall.Seconds() }
	r.remember("uplink, upload of 4 GiB", spent.rss, rate(spent))
	if spent, err = costOf(r.network, r.network.Uplink(ctx, "cat", url("huge")), 0); err != nil {
		return err
	}
	r.remember("uplink, download of 4 GiB", spent.rss, rate(spent))
	return nil
}
