package storagenode

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// A fakeSatellite keeps groups and journals in memory and does for nodes what
// a satellite does. It is a satelliteClient by itself, or can be served.
type fakeSatellite struct {
	pb.UnimplementedNodesServer
	t   *testing.T
	key ident.Key

	mu        sync.Mutex
	staging   time.Duration
	groups    map[uint32]*order.Group
	journals  map[uint32][]*pb.Entry // nil for those that were trimmed
	base      map[uint32]uint64
	checkIns  []*pb.CheckInRequest
	contested []*order.Head
	claims    []fakeClaim // taken in
	standing  *pb.Standing
	alter     func(*pb.CheckInResponse)
	host      *transport.Host // once it is served
	exits     int             // calls
	exitErr   error
	departure *pb.Signed
	only      ident.ID // if it is set, the only node, which is told of its groups alone
	reads     int      // journal calls
	down      bool
	corrupt   func(*pb.JournalResponse)
}

func newFakeSatellite(t *testing.T) *fakeSatellite {
	t.Helper()
	key, err := ident.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeSatellite{
		t: t, key: key, staging: time.Hour,
		groups:   make(map[uint32]*order.Group),
		journals: make(map[uint32][]*pb.Entry),
		base:     make(map[uint32]uint64),
	}
}

// join gives a node a slot of a group at an epoch.
func (f *fakeSatellite) join(group uint32, epoch uint64, node ident.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	other, err := ident.Generate(rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	f.groups[group] = &order.Group{
		Satellite: f.key.ID(), ID: group, Epoch: epoch,
		Scheme: erasure.Scheme{Required: 1, RepairBelow: 1, Success: 2, Total: 2},
		Nodes:  []ident.ID{other.ID(), node}, Issued: time.Now().Truncate(time.Second),
	}
}

func (f *fakeSatellite) live(group uint32, m shardstore.Meta) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.journals[group] = append(f.journals[group], &pb.Entry{
		Seq: uint64(len(f.journals[group]) + 1), Kind: pb.EntryKind_ENTRY_KIND_LIVE,
		Segment: m.Segment[:], Root: m.Root[:], Size: uint64(m.Layout.Size),
	})
}

func (f *fakeSatellite) tombstone(group uint32, id order.SegmentID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.journals[group] = append(f.journals[group], &pb.Entry{
		Seq: uint64(len(f.journals[group]) + 1), Kind: pb.EntryKind_ENTRY_KIND_TOMBSTONE, Segment: id[:],
	})
}

// trim drops what does not count from a journal up to an entry.
func (f *fakeSatellite) trim(group uint32, base uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	dead := make(map[string]bool)
	for _, e := range f.journals[group] {
		if e != nil && e.Kind == pb.EntryKind_ENTRY_KIND_TOMBSTONE {
			dead[string(e.Segment)] = true
		}
	}
	for i, e := range f.journals[group][:base] {
		if e != nil && dead[string(e.Segment)] {
			f.journals[group][i] = nil
		}
	}
	f.base[group] = base
}

func (f *fakeSatellite) Exit(context.Context, *pb.ExitRequest) (*pb.ExitResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.exits++
	return &pb.ExitResponse{}, f.exitErr
}

// change runs f with the satellite held still.
func (f *fakeSatellite) change(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeSatellite) CheckIn(_ context.Context, m *pb.CheckInRequest) (*pb.CheckInResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil, status.Error(codes.Unavailable, "it is down")
	}
	f.checkIns = append(f.checkIns, m)
	res := &pb.CheckInResponse{
		IntervalMs: 100, Now: time.Now().Unix(), Staging: int64(f.staging / time.Second), Standing: f.standing,
		Departure: f.departure,
	}
	for id, g := range f.groups {
		news := &pb.GroupNews{Group: id, Epoch: g.Epoch, Head: uint64(len(f.journals[id]))}
		known, asked := uint64(0), false
		for _, c := range m.Cursors {
			if c.Group == id {
				known, asked = c.Epoch, true
			}
		}
		if _, holds := g.SlotOf(f.only); !f.only.IsZero() && !holds {
			if !asked || known >= g.Epoch {
				continue
			}
			news.Head = 0 // it only takes leave
		}
		if known < g.Epoch {
			var err error
			if news.Record, err = order.SignGroup(f.key, g); err != nil {
				return nil, err
			}
		}
		if c := f.claimOn(id); c != nil {
			digest := order.Digest(c.signed)
			news.Claim = digest[:8]
		}
		res.Groups = append(res.Groups, news)
	}
	if f.alter != nil {
		f.alter(res)
	}
	return res, nil
}

func (f *fakeSatellite) Journal(_ context.Context, m *pb.JournalRequest) (*pb.JournalResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	entries := f.journals[m.Group]
	head, err := order.SignHead(f.key, &order.Head{
		Satellite: f.key.ID(), Group: m.Group, Seq: uint64(len(entries)), Issued: time.Now().Truncate(time.Second),
	})
	if err != nil {
		return nil, err
	}
	res := &pb.JournalResponse{Head: head, Base: f.base[m.Group], Through: m.After}
	end := uint64(len(entries))
	if res.Sparse = m.After < res.Base; res.Sparse {
		end = res.Base
	}
	for ; res.Through < end && len(res.Entries) < int(m.Limit); res.Through++ {
		if e := entries[res.Through]; e != nil {
			res.Entries = append(res.Entries, e)
		}
	}
	if f.corrupt != nil {
		f.corrupt(res)
	}
	return res, nil
}

func (f *fakeSatellite) Contest(_ context.Context, m *pb.ContestRequest) (*pb.ContestResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	head, err := order.OpenHead(m.Head, f.key.ID())
	if err != nil {
		return nil, err
	}
	f.contested = append(f.contested, head)
	return &pb.ContestResponse{}, nil
}

// A fakeClaim is one that the satellite took in.
type fakeClaim struct {
	*order.Claim
	signed *pb.Signed
}

// claimOn is the newest claim on a group, or nil. mu is held.
func (f *fakeSatellite) claimOn(group uint32) *fakeClaim {
	for i := len(f.claims) - 1; i >= 0; i-- {
		if f.claims[i].Group == group {
			return &f.claims[i]
		}
	}
	return nil
}

func (f *fakeSatellite) Claim(_ context.Context, m *pb.ClaimRequest) (*pb.ClaimResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, signed := range m.Claims {
		c, err := openAnyClaim(signed)
		if err != nil {
			return nil, err
		}
		f.claims = append(f.claims, fakeClaim{c, signed})
	}
	return &pb.ClaimResponse{}, nil
}

// openAnyClaim opens a claim of whichever node signed it.
func openAnyClaim(signed *pb.Signed) (*order.Claim, error) {
	var m pb.Claim
	if err := proto.Unmarshal(signed.Body, &m); err != nil {
		return nil, err
	}
	node, err := ident.IDFromBytes(m.Node)
	if err != nil {
		return nil, err
	}
	return order.OpenClaim(signed, node)
}

func (f *fakeSatellite) Close() error { return nil }

// serve puts the satellite on the network and returns its address.
func (f *fakeSatellite) serve() string {
	f.t.Helper()
	host, err := transport.New(transport.Config{
		Key: f.key, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Serves: []string{transport.NodesProtocol},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.host = host
	server := transport.NewGRPCServer()
	pb.RegisterNodesServer(server, f)
	done := make(chan error, 1)
	go func() { done <- host.ServeGRPC(transport.NodesProtocol, server) }()
	f.t.Cleanup(func() {
		server.Stop()
		host.Close()
		<-done
	})
	return host.Addresses()[0]
}

// putShard stores a shard of slot 1, as if an uplink had sent it.
func putShard(t *testing.T, store *shardstore.Store, group uint32, n byte) shardstore.Meta {
	t.Helper()
	data := make([]byte, 4096)
	data[0] = n
	m := shardstore.Meta{Slot: 1, Layout: erasure.Layout{Required: 1, Total: 2, Size: 4096}}
	m.Group, m.Segment = group, order.SegmentID{1, n}
	m.ShardRoots = []merkle.Hash{{1}, merkle.ShardRoot(data)}
	m.Root = merkle.SegmentRoot(m.Layout, m.ShardRoots)
	w, err := store.Create(t.Context(), m.Key, 4096, 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	return m
}

type testLog struct{ t *testing.T }

func (w testLog) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

func testLogger(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(testLog{t}, nil)) }
