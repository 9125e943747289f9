package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairnstorage/cairn/deploy/procnet"
	"github.com/cairnstorage/cairn/proto/grant"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/satellite/satclient"
	"github.com/cairnstorage/cairn/scripts/benchmark/results"
)

const (
	commitsEach    = 8  // that every client has under way
	commitMetadata = 80 // bytes, sealed; about what an upload of a file has
	commitSize     = 64 << 10
)

func (b *bench) measureCommits(ctx context.Context) error {
	for _, p := range b.places {
		err := b.withNetwork(ctx, p, procnet.Config{Scheme: b.o.schemes[0]}, func(r *rig) error {
			r.say("commits")
			return r.measureCommits(ctx)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *rig) measureCommits(ctx context.Context) error {
	seats, err := r.findSeats(ctx)
	if err != nil {
		return err
	}
	for _, node := range r.network.Nodes {
		node.Signal(syscall.SIGSTOP)
	}
	defer func() {
		for _, node := range r.network.Nodes {
			node.Signal(syscall.SIGCONT)
		}
	}()
	callers, done, err := r.callers(clients)
	if err != nil {
		return err
	}
	defer done()
	for _, row := range []results.Commits{
		{Segments: 0, Count: byLength(r.o.long, 5000, 50_000)}, {Segments: 1, Count: byLength(r.o.long, 2000, 20_000)},
	} {
		requests := make([]*pb.CommitObjectRequest, row.Count)
		for i := range requests {
			if requests[i], err = seats.commit(i, row.Segments); err != nil {
				return err
			}
		}
		row.Place, row.Clients, row.Each = r.place.Name, clients, commitsEach
		if err := r.commitAll(ctx, &row, callers, requests); err != nil {
			return err
		}
		r.report.Commits = append(r.report.Commits, row)
	}
	return nil
}

// caller is a client of the satellite with a connection of its own.
type caller struct {
	*satclient.Client
	host      *transport.Host
	satellite ident.ID
}

func (r *rig) callers(count int) (all []caller, done func(), err error) {
	done = func() {
		for _, c := range all {
			c.Close()
			c.host.Close()
		}
	}
	for range count {
		c, err := newCaller(r.network.Grant)
		if err != nil {
			done()
			return nil, nil, err
		}
		all = append(all, c)
	}
	return all, done, nil
}

func newCaller(access string) (c caller, err error) {
	g, err := grant.Parse(access)
	if err != nil {
		return c, err
	}
	address, err := transport.ParseAddress(g.Satellite)
	if err != nil {
		return c, err
	}
	c.satellite = address.ID
	if c.host, err = newHost(); err != nil {
		return c, err
	}
	c.Client, err = satclient.New(c.host, address, satclient.Options{APIKey: g.APIKey})
	if err != nil {
		c.host.Close()
	}
	return c, err
}

func newHost() (*transport.Host, error) {
	key, err := ident.Generate(rand.Reader)
	if err != nil {
		return nil, err
	}
	return transport.New(transport.Config{Key: key})
}

func (r *rig) commitAll(ctx context.Context, row *results.Commits, callers []caller, requests []*pb.CommitObjectRequest) (err error) {
	for _, c := range callers { // connects
		if _, err := c.ListBuckets(ctx, &pb.ListBucketsRequest{}); err != nil {
			return err
		}
	}
	memory, err := reserveMemory(0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, memory.close()) }()
	took := make([]time.Duration, len(requests))
	satellite := r.network.Satellite.Usage().CPU
	m := startMeter(r.network)
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for w := range len(callers) * commitsEach {
		client := callers[w%len(callers)]
		group.Go(func() error {
			for i := int(next.Add(1)) - 1; i < len(requests); i = int(next.Add(1)) - 1 {
				begun := time.Now()
				if _, err := client.CommitObject(ctx, requests[i]); err != nil {
					return err
				}
				took[i] = time.Since(begun)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	spent := m.read()
	each := float64(len(requests))
	row.Rate = each / spent.wall.Seconds()
	row.P50, row.P99 = percentile(took, 0.5), percentile(took, 0.99)
	row.CPU = milliseconds(r.network.Satellite.Usage().CPU-satellite) / each
	row.AllCPU = milliseconds(spent.cpu) / each
	return nil
}

// seats is a placement group with the keys of those who hold its slots.
type seats struct {
	group *order.Group
	keys  []ident.Key
}

func (r *rig) findSeats(ctx context.Context) (*seats, error) {
	access, err := grant.Parse(r.network.Grant)
	if err != nil {
		return nil, err
	}
	satellite, err := transport.ParseAddress(access.Satellite)
	if err != nil {
		return nil, err
	}
	keys, err := nodeKeys(r.network)
	if err != nil {
		return nil, err
	}
	byID := make(map[ident.ID]ident.Key)
	for _, key := range keys {
		byID[key.ID()] = key
	}
	s := &seats{}
	return s, r.network.Admin(ctx, func(c pb.AdminClient) error {
		res, err := c.ListGroups(ctx, &pb.ListGroupsRequest{})
		if err != nil {
			return err
		}
		g := res.Groups[0]
		s.group = &order.Group{Satellite: satellite.ID, ID: g.Group, Epoch: g.Epoch, Scheme: r.scheme}
		for _, raw := range g.Nodes {
			id, err := ident.IDFromBytes(raw)
			if err != nil {
				return err
			}
			s.group.Nodes = append(s.group.Nodes, id)
			s.keys = append(s.keys, byID[id])
		}
		return nil
	})
}

// commit is the request for an object that is inline or has a segment.
func (s *seats) commit(i, segments int) (*pb.CommitObjectRequest, error) {
	nonce, metadata := make([]byte, 16), make([]byte, commitMetadata)
	rand.Read(nonce)
	rand.Read(metadata)
	req := &pb.CommitObjectRequest{Bucket: bucket, Key: sealedName(fmt.Sprintf("%d-%08d", segments, i)), SealedMetadata: metadata, Nonce: nonce}
	if segments == 0 {
		req.Size = 1000
		req.Inline = make([]byte, 1016)
		return req, nil
	}
	segment, err := s.segment()
	if err != nil {
		return nil, err
	}
	req.Size = commitSize
	req.Segments = []*pb.Segment{segment}
	req.Extents = []*pb.Extent{{Segment: segment.Id, Length: commitSize}}
	return req, nil
}

// segment is a segment of which as many nodes have signed receipts as a commit
// needs.
func (s *seats) segment() (*pb.Segment, error) {
	receipt := order.Receipt{
		Size: roundUp(commitSize+32, int64(s.group.Scheme.Required)*64), Group: s.group.ID, Epoch: s.group.Epoch,
		Stored: time.Now().Truncate(time.Second),
	}
	rand.Read(receipt.Segment[:])
	rand.Read(receipt.Root[:])
	rand.Read(receipt.Serial[:])
	segment := &pb.Segment{
		Id: receipt.Segment[:], Group: receipt.Group, Epoch: receipt.Epoch, Size: uint64(receipt.Size), Root: receipt.Root[:],
	}
	for slot := range s.group.Scheme.Success {
		receipt.Slot, receipt.Node = slot, s.group.Nodes[slot]
		signed, err := order.SignReceipt(s.keys[slot], &receipt)
		if err != nil {
			return nil, err
		}
		segment.Receipts = append(segment.Receipts, signed)
	}
	return segment, nil
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }

// sealedName has the form of an encrypted name below a prefix.
func sealedName(name string) []byte {
	const tag = 16
	prefix := make([]byte, len("photos")+tag)
	last := append([]byte(name), make([]byte, tag)...)
	key := append([]byte{byte(len(prefix))}, prefix...)
	return append(append(key, byte(len(last))), last...)
}
