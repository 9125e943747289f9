package satellite

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/satellite/kv/memkv"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

var testScheme = erasure.Scheme{Required: 4, RepairBelow: 6, Success: 8, Total: 10}

// segmentSize is a size that segments of testScheme can have.
const segmentSize = 4 * 64 * 100

// fakeNodes stands for the groups and the registry: it knows as many groups
// and epochs as a test makes.
type fakeNodes struct {
	mu     sync.Mutex
	groups map[uint32]*group
}

func (f *fakeNodes) get(id uint32) (*group, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if g := f.groups[id]; g != nil {
		return g, nil
	}
	return nil, satclient.ErrGroupNotFound
}

func (f *fakeNodes) forPut(exclude []uint32) (*group, error) {
	if len(exclude) > 0 {
		return nil, satclient.ErrTooFewNodes
	}
	return f.get(1)
}

func (f *fakeNodes) addresses(ids []ident.ID, _ bool) []*pb.NodeAddress {
	list := make([]*pb.NodeAddress, len(ids))
	for i := range ids {
		list[i] = &pb.NodeAddress{Node: ids[i][:], Addresses: []string{"/ip4/192.0.2.1/tcp/1"}, Online: true}
	}
	return list
}

// bench is a Metadata service over real connections, with everything around it
// under the test's control.
type bench struct {
	t       testing.TB
	key     ident.Key
	meta    *meta.Store
	nodes   *fakeNodes
	keys    map[ident.ID]ident.Key // of nodes
	service *metadataService
	refuse  error
	now     time.Time
	host    *transport.Host
	project meta.Project
	apiKey  []byte
	uplink  *transport.Host
	conn    *grpc.ClientConn
	client  *satclient.Client
}

var noLog = slog.New(slog.DiscardHandler)

func newKey(t testing.TB) ident.Key {
	t.Helper()
	key, err := ident.Generate(rand.Reader)
	must(t, err)
	return key
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newBench makes a bench without a network.
func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{
		t: t, key: newKey(t), keys: make(map[ident.ID]ident.Key),
		nodes: &fakeNodes{groups: make(map[uint32]*group)},
		now:   time.Unix(1_800_000_000, 0),
	}
	clock := func() time.Time { return b.now }
	var err error
	b.meta, err = meta.Open(context.Background(), memkv.New(), meta.Config{Satellite: b.key.ID(), Now: clock})
	must(t, err)
	b.service = &metadataService{
		meta:     b.meta,
		leases:   &leaser{key: b.key, groups: b.nodes, nodes: b.nodes, now: clock, rand: rand.Reader},
		verifier: &verifier{satellite: b.key.ID(), meta: b.meta, groups: b.nodes, now: clock, staging: 24 * time.Hour},
		refusing: func() error { return b.refuse },
		ready:    func(context.Context) error { return b.refuse },
	}
	b.project, b.apiKey = b.newProject("first")
	b.newGroup()
	return b
}

// newServedBench makes a bench with a client over libp2p.
func newServedBench(t testing.TB) *bench {
	t.Helper()
	b := newBench(t)
	b.host = b.newHost(b.key, "/ip4/127.0.0.1/tcp/0")
	server := transport.NewGRPCServer(append(serverOptions(noLog), grpc.NumStreamWorkers(callWorkers))...)
	var keys keyring
	admitting := func(ctx context.Context) (context.Context, error) { return keys.admit(b.meta)(ctx) } // by the store of the time
	server.RegisterService(transport.Guarded(pb.Metadata_ServiceDesc, admitting, answer(noLog)), b.service)
	go b.host.ServeGRPC(transport.SatelliteProtocol, server)
	t.Cleanup(server.Stop)
	b.uplink = b.newHost(newKey(t))
	b.client = b.newClient(b.apiKey)
	return b
}

func (b *bench) newHost(key ident.Key, listen ...string) *transport.Host {
	b.t.Helper()
	c := transport.Config{Key: key, Listen: listen}
	if len(listen) > 0 {
		c.Serves = []string{transport.SatelliteProtocol}
	}
	host, err := transport.New(c)
	must(b.t, err)
	b.t.Cleanup(func() { host.Close() })
	return host
}

func (b *bench) newClient(apiKey []byte) *satclient.Client {
	b.t.Helper()
	address, err := transport.JoinAddress(b.key.ID(), b.host.Addresses())
	must(b.t, err)
	if b.conn == nil {
		b.conn, err = b.uplink.DialGRPC(address, transport.SatelliteProtocol)
		must(b.t, err)
		b.t.Cleanup(func() { b.conn.Close() })
	}
	return satclient.NewClient(b.conn, satclient.Options{APIKey: apiKey})
}

func (b *bench) newProject(name string) (meta.Project, []byte) {
	b.t.Helper()
	p, err := b.meta.CreateProject(context.Background(), name, [16]byte{}, [16]byte{})
	must(b.t, err)
	key, err := newAPIKey(&p, rand.Reader)
	must(b.t, err)
	return p, key
}

// newGroup makes a group of new nodes.
func (b *bench) newGroup() *group {
	b.t.Helper()
	id, err := b.meta.NextGroup(context.Background())
	must(b.t, err)
	g := &group{Group: order.Group{Satellite: b.key.ID(), ID: id, Epoch: 1, Scheme: testScheme, Issued: b.now}}
	for range testScheme.Total {
		g.Nodes = append(g.Nodes, b.newNode())
	}
	b.putGroup(g)
	return g
}

func (b *bench) newNode() ident.ID {
	key := newKey(b.t)
	b.keys[key.ID()] = key
	return key.ID()
}

func (b *bench) putGroup(g *group) {
	b.t.Helper()
	var err error
	g.record, err = order.SignGroup(b.key, &g.Group)
	must(b.t, err)
	must(b.t, b.meta.PutGroup(context.Background(), meta.Group{ID: g.ID, Epoch: g.Epoch, Record: g.record}))
	b.nodes.mu.Lock()
	defer b.nodes.mu.Unlock()
	b.nodes.groups[g.ID] = g
}

// replaceHolders takes group g to its next epoch with new holders of its first
// n slots.
func (b *bench) replaceHolders(g *group, n int) *group {
	b.t.Helper()
	next := &group{Group: g.Group}
	next.Epoch++
	next.Nodes = append([]ident.ID(nil), g.Nodes...)
	for slot := range n {
		next.Nodes[slot] = b.newNode()
	}
	b.putGroup(next)
	return next
}

// receipt is what the holder of a slot says about a segment.
func (b *bench) receipt(g *group, slot int, s *pb.Segment) order.Receipt {
	return order.Receipt{
		Node: g.Nodes[slot], Segment: order.SegmentID(s.Id), Root: merkle.Hash(s.Root), Size: int64(s.Size),
		Group: g.ID, Epoch: g.Epoch, Slot: slot, Serial: order.Serial{1}, Stored: b.now,
	}
}

func (b *bench) sign(r order.Receipt) *pb.Signed {
	b.t.Helper()
	signed, err := order.SignReceipt(b.keys[r.Node], &r)
	must(b.t, err)
	return signed
}

// segment is one stored by the first n slots of a group.
func (b *bench) segment(g *group, n int) *pb.Segment {
	b.t.Helper()
	id, err := order.NewSegmentID(rand.Reader)
	must(b.t, err)
	root := make([]byte, 32)
	rand.Read(root)
	s := &pb.Segment{Id: id[:], Group: g.ID, Epoch: g.Epoch, Size: segmentSize, Root: root}
	for slot := range n {
		s.Receipts = append(s.Receipts, b.sign(b.receipt(g, slot, s)))
	}
	return s
}

// commit is a commit of n segments in group 1.
func (b *bench) commit(key string, n int) *pb.CommitObjectRequest {
	b.t.Helper()
	req := &pb.CommitObjectRequest{Bucket: "bucket", Key: component(key), SealedMetadata: []byte("sealed"), Nonce: make([]byte, 16)}
	rand.Read(req.Nonce)
	g, err := b.nodes.get(1)
	must(b.t, err)
	for range n {
		s := b.segment(g, testScheme.Success)
		req.Segments = append(req.Segments, s)
		req.Extents = append(req.Extents, &pb.Extent{Segment: s.Id, Length: segmentSize - 100})
		req.Size += segmentSize - 100
	}
	return req
}

// component is an encrypted key of one component, as far as a satellite sees.
func component(name string) []byte {
	return append([]byte{byte(len(name))}, name...)
}

func (b *bench) createBucket() {
	b.t.Helper()
	_, err := b.client.CreateBucket(context.Background(), &pb.CreateBucketRequest{Name: "bucket"})
	must(b.t, err)
}

// journal returns the live segments of a group by its journal.
func (b *bench) journal(group uint32) []meta.Entry {
	b.t.Helper()
	page, err := b.meta.Entries(context.Background(), group, 0, 1000)
	must(b.t, err)
	return page.Entries
}

func wantError(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func wantSame(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s = %x, want %x", what, got, want)
	}
}
