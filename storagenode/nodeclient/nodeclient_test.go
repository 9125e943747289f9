package nodeclient

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
)

// What an honest node does is tested in package storagenode, against the real
// server. The nodes here do what a test tells them to.

const slot = 2

var scheme = erasure.Scheme{Required: 4, RepairBelow: 5, Success: 5, Total: 6}

// A node is one that tells lies, and an uplink that talks to it.
type node struct {
	t       testing.TB
	key     ident.Key
	host    *transport.Host
	uplink  *transport.Host // or its satellite
	address transport.Address
	lease   Lease
	shard   shard
}

// shard is that of slot, and the segment it is of.
type shard struct {
	id     order.SegmentID
	layout erasure.Layout
	root   merkle.Hash
	roots  []merkle.Hash
	data   []byte
	hasher *merkle.Hasher
}

// a nodeStream is the node's end of a stream.
type nodeStream struct {
	*transport.Stream
	w *wire.Writer
	r *wire.Reader
}

func newKey(t testing.TB) ident.Key {
	t.Helper()
	key, err := ident.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newNode starts a node that does as told with every stream once it is open.
func newNode(t testing.TB, behave func(n *node, s nodeStream)) *node {
	t.Helper()
	n := &node{t: t, key: newKey(t), shard: newShard(t, 300<<10)}
	host, err := transport.New(transport.Config{Key: n.key, Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		t.Fatal(err)
	}
	n.host = host
	t.Cleanup(func() { host.Close() })
	if n.uplink, err = transport.New(transport.Config{Key: newKey(t)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.uplink.Close() })
	n.address, err = transport.ParseAddress(strings.Join(host.Addresses(), ","))
	if err != nil {
		t.Fatal(err)
	}
	n.lease = newLease(t, n.key.ID(), n.uplink.ID())
	host.Handle(wire.Protocol, func(_ context.Context, s *transport.Stream) {
		stream := nodeStream{Stream: s, w: wire.NewWriter(s), r: wire.NewReader(s)}
		stream.until(wire.TypeOpen)
		behave(n, stream)
	})
	return n
}

func newLease(t testing.TB, self, uplink ident.ID) Lease {
	t.Helper()
	satellite := newKey(t)
	group := &order.Group{
		Satellite: satellite.ID(), ID: 1, Epoch: 2, Scheme: scheme,
		Nodes: make([]ident.ID, scheme.Total), Issued: time.Now(),
	}
	for i := range group.Nodes {
		group.Nodes[i] = newKey(t).ID()
	}
	group.Nodes[slot] = self
	now := time.Now()
	limit := &order.Limit{
		Satellite: satellite.ID(), Serial: order.Serial{9}, Uplink: uplink, Group: 1, Epoch: 2,
		Action: order.ActionPut, MaxBytes: 1 << 30, Issued: now, Expires: now.Add(time.Hour),
	}
	signedGroup, err := order.SignGroup(satellite, group)
	if err != nil {
		t.Fatal(err)
	}
	signedLimit, err := order.SignLimit(satellite, limit)
	if err != nil {
		t.Fatal(err)
	}
	lease, err := OpenLease(signedGroup, signedLimit, satellite.ID())
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

func newShard(t testing.TB, size int) shard {
	t.Helper()
	s := shard{data: make([]byte, size), roots: make([]merkle.Hash, scheme.Total), hasher: merkle.NewHasher(int64(size))}
	rand.Read(s.data)
	rand.Read(s.id[:])
	for i := range s.roots {
		rand.Read(s.roots[i][:])
	}
	var err error
	if s.layout, err = scheme.Layout(int64(size * scheme.Required)); err != nil {
		t.Fatal(err)
	}
	s.hasher.Write(s.data)
	s.roots[slot] = s.hasher.Root()
	s.root = merkle.SegmentRoot(s.layout, s.roots)
	return s
}

// until reads frames up to and with one of a type; it reports whether it came.
func (s nodeStream) until(last wire.Type) bool {
	for {
		h, err := s.r.Next()
		if err != nil {
			return false
		}
		if h.Type == wire.TypeData {
			_, err = s.r.ReadData(make([]byte, h.Length))
		} else {
			err = s.r.ReadControl(map[wire.Type]proto.Message{
				wire.TypeOpen: &pb.Open{}, wire.TypePutBegin: &pb.PutBegin{}, wire.TypePutEnd: &pb.PutEnd{},
				wire.TypePutCancel: &pb.PutCancel{}, wire.TypeGet: &pb.Get{}, wire.TypeProve: &pb.Prove{}, wire.TypeRoots: &pb.Roots{},
			}[h.Type])
		}
		if err != nil || h.Type == last {
			return err == nil
		}
	}
}

func (n *node) openPut(idle time.Duration) *Put {
	n.t.Helper()
	p, err := Dialer{Host: n.uplink, Idle: idle}.OpenPut(context.Background(), n.address, n.lease)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(p.Reset)
	return p
}

func (n *node) openGet(idle time.Duration) *Get {
	n.t.Helper()
	g, err := Dialer{Host: n.uplink, Idle: idle}.OpenGet(context.Background(), n.address, n.lease)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(g.Reset)
	return g
}

// put sends the shard and takes the answer.
func (n *node) put(p *Put) error {
	if err := n.send(p); err != nil {
		return err
	}
	_, _, err := p.Answer()
	return err
}

func (n *node) send(p *Put) error {
	if err := p.Begin(n.shard.id, int64(len(n.shard.data))); err != nil {
		return err
	}
	if err := p.Data(append(make([]byte, wire.HeaderSize), n.shard.data[:wire.MaxData]...)); err != nil {
		return err
	}
	return p.End(n.shard.layout, n.shard.root, n.shard.roots)
}

func (n *node) receipt() *order.Receipt {
	return &order.Receipt{
		Node: n.key.ID(), Segment: n.shard.id, Root: n.shard.root, Size: n.shard.layout.Size, Group: 1, Epoch: 2,
		Slot: slot, Serial: n.lease.Limit.Serial, Stored: time.Now(),
	}
}

func (n *node) sign(key ident.Key, r *order.Receipt) *pb.Signed {
	signed, err := order.SignReceipt(key, r)
	if err != nil {
		n.t.Error(err)
	}
	return signed
}

func TestNodeDown(t *testing.T) {
	n := newNode(t, func(*node, nodeStream) {})
	n.address.Addrs = []string{"/ip4/127.0.0.1/tcp/1"}
	if _, err := (Dialer{Host: n.uplink}).OpenPut(t.Context(), n.address, n.lease); !errors.Is(err, transport.ErrUnreachable) {
		t.Errorf("put: %v", err)
	}
	if _, err := (Dialer{Host: n.uplink}).OpenGet(t.Context(), n.address, n.lease); !errors.Is(err, transport.ErrUnreachable) {
		t.Errorf("get: %v", err)
	}
}

func TestOpenLease(t *testing.T) {
	lease, other := newLease(t, newKey(t).ID(), newKey(t).ID()), newLease(t, newKey(t).ID(), newKey(t).ID())
	satellite := lease.Group.Satellite
	if _, err := OpenLease(lease.SignedGroup, lease.SignedLimit, newKey(t).ID()); err == nil {
		t.Error("another satellite's lease was taken")
	}
	if _, err := OpenLease(lease.SignedGroup, other.SignedLimit, satellite); err == nil {
		t.Error("another satellite's limit was taken")
	}
}
