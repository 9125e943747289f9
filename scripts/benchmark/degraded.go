package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/cairnstorage/cairn/deploy/procnet"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
)

// measureDegraded downloads the largest object again when all nodes are gone
// that it can do without: those with the data shards first. Those that stay have
// to hold all of it, which not all do as soon as an upload has succeeded.
func (r *rig) measureDegraded(ctx context.Context) error {
	size := r.o.sizes[len(r.o.sizes)-1]
	holders, err := slotHolders(ctx, r.network)
	if err != nil {
		return err
	}
	gone := r.scheme.Total - r.scheme.Required
	r.say("download of %d MiB with %d nodes gone", size>>20, gone)
	stay, err := r.whole(ctx, holders, r.scheme.Required)
	if err != nil {
		return err
	}
	for _, node := range holders {
		if !slices.Contains(stay, node) {
			node.Kill()
		}
	}
	var downs []cost
	for range r.o.rounds {
		if err := r.bound.round(); err != nil {
			return err
		}
		down, err := costOf(r.network, r.network.Uplink(ctx, "cat", url(large(size))), 0)
		if err != nil {
			return err
		}
		downs = append(downs, down)
	}
	if err := r.verify(ctx, filepath.Join(r.dir, "source.last"), large(size)); err != nil {
		return err
	}
	r.addTransfer(fmt.Sprintf("download, %d gone", gone), size, downs)
	return nil
}

// wholeWithin bounds the wait for nodes that hold everything. As many as an
// upload needs do within a check-in or two.
const wholeWithin = 3 * time.Minute

// whole are so many of the nodes, the last ones, that hold a shard of every live
// segment. It waits until there are as many.
func (r *rig) whole(ctx context.Context, holders []*procnet.Process, count int) (found []*procnet.Process, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, wholeWithin, errors.New("waited too long"))
	defer cancel()
	for {
		heads, err := journalHeads(ctx, r.network)
		if err != nil {
			return nil, err
		}
		found = nil
		for _, node := range slices.Backward(holders) {
			info, err := r.network.NodeInfo(ctx, slices.Index(r.network.Nodes, node))
			if err != nil {
				return nil, err
			}
			if holdsAll(info, heads) && len(found) < count {
				found = append(found, node)
			}
		}
		if len(found) == count {
			return found, nil
		}
		if !pause(ctx, 100*time.Millisecond) {
			return nil, fmt.Errorf("%d of %d nodes hold all they should: %w", len(found), count, context.Cause(ctx))
		}
	}
}

// pause reports false when the context is over first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// holdsAll tells whether a node has followed the journals of its groups as far
// as these heads and lacks no live shard. How many shards it has would not tell:
// some may be of objects that were overwritten.
func holdsAll(info *pb.InfoResponse, heads map[uint32]uint64) bool {
	lacks := func(g *pb.GroupFollow) bool { return g.Missing > 0 }
	return follows(info, heads) && !slices.ContainsFunc(info.Groups, lacks)
}

// follows tells whether a node has followed the journals of its groups, of which it
// has some, as far as these heads.
func follows(info *pb.InfoResponse, heads map[uint32]uint64) bool {
	behind := func(g *pb.GroupFollow) bool { return g.Cursor < heads[g.Group] }
	return len(info.Groups) > 0 && !slices.ContainsFunc(info.Groups, behind)
}

// journalHeads are the newest entries of all groups.
func journalHeads(ctx context.Context, network *procnet.Network) (map[uint32]uint64, error) {
	heads := make(map[uint32]uint64)
	err := network.Admin(ctx, func(c pb.AdminClient) error {
		res, err := c.ListGroups(ctx, &pb.ListGroupsRequest{})
		for _, g := range res.GetGroups() {
			heads[g.Group] = g.Head
		}
		return err
	})
	return heads, err
}

// slotHolders are the nodes of the group that holds most, by slot.
func slotHolders(ctx context.Context, network *procnet.Network) ([]*procnet.Process, error) {
	keys, err := nodeKeys(network)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]*procnet.Process)
	for i, key := range keys {
		id := key.ID()
		byID[string(id[:])] = network.Nodes[i]
	}
	var most *pb.GroupInfo
	err = network.Admin(ctx, func(c pb.AdminClient) error {
		res, err := c.ListGroups(ctx, &pb.ListGroupsRequest{})
		for _, g := range res.GetGroups() {
			if most == nil || g.Bytes > most.Bytes {
				most = g
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var holders []*procnet.Process
	for _, id := range most.GetNodes() {
		if node := byID[string(id)]; node != nil && !slices.Contains(holders, node) {
			holders = append(holders, node)
		}
	}
	if len(holders) != len(network.Nodes) {
		return nil, fmt.Errorf("%d of %d nodes hold a slot of the group with the data", len(holders), len(network.Nodes))
	}
	return holders, nil
}

// nodeKeys are the identities of the nodes.
func nodeKeys(network *procnet.Network) ([]ident.Key, error) {
	keys := make([]ident.Key, len(network.Nodes))
	for i := range keys {
		var err error
		if keys[i], err = ident.Load(filepath.Join(network.NodeDir(i), "key.pem")); err != nil {
			return nil, err
		}
	}
	return keys, nil
}
