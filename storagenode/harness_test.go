package storagenode

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/storagenode/nodeclient"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

const (
	testGroup = uint32(7)
	testEpoch = uint64(3)
	testSlot  = 4 // of the node under test
)

var testScheme = erasure.Scheme{Required: 4, RepairBelow: 6, Success: 8, Total: 10}

// served is a server under test, on a network of its own, with a satellite and
// an uplink beside it.
type served struct {
	t         testing.TB
	dir       string
	satellite ident.Key
	node      ident.Key
	host      *transport.Host // of the node
	uplink    *transport.Host
	auditor   *transport.Host // of the satellite, once openAudit was called
	store     *shardstore.Store
	ledger    *Ledger
	server    *Server
	address   transport.Address
	epoch     atomic.Uint64 // what the node knows of the group
	ahead     atomic.Int64  // how far the node's clock is ahead of the test's, in nanoseconds
	group     *order.Group
	lost      atomic.Int64  // how often the server told of a loss
	claims    atomic.Uint64 // the node claims all entries up to here

	storeConfig shardstore.Config
	idle        time.Duration
	buffers     int
}

func newServed(t testing.TB, change func(*served)) *served {
	t.Helper()
	v := &served{t: t, dir: t.TempDir(), satellite: testKey(t), node: testKey(t)}
	v.storeConfig = shardstore.Config{
		Dirs: []string{filepath.Join(v.dir, "data")}, Reserve: 1 << 20, VolumeSize: 64 << 20,
		Logger: slog.New(slog.DiscardHandler), Now: v.now,
	}
	if change != nil {
		change(v)
	}
	v.group = v.newGroup(testEpoch)
	v.start()
	t.Cleanup(func() { v.stop() })
	v.uplink = testHost(t, transport.Config{})
	return v
}

func testKey(t testing.TB) ident.Key {
	t.Helper()
	key, err := ident.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func testHost(t testing.TB, c transport.Config) *transport.Host {
	t.Helper()
	if c.Key.IsZero() {
		c.Key = testKey(t)
	}
	h, err := transport.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func (v *served) now() time.Time { return time.Now().Add(time.Duration(v.ahead.Load())) }

// testClaim names the claim that the node has handed in on its group.
var testClaim = merkle.Hash{1, 2, 3}

func (v *served) claim(group uint32) (NamedClaim, bool) {
	return NamedClaim{order.Claim{Seq: v.claims.Load()}, testClaim}, group == testGroup
}

// start brings the node up, also again after stop.
func (v *served) start() {
	v.t.Helper()
	must := func(err error) {
		if err != nil {
			v.t.Helper()
			v.t.Fatal(err)
		}
	}
	var err error
	v.store, err = shardstore.Open(v.storeConfig)
	must(err)
	v.ledger, err = OpenLedger(filepath.Join(v.dir, "ledger"), v.now, slog.New(slog.DiscardHandler))
	must(err)
	v.server, err = NewServer(ServerConfig{
		Store: v.store, Key: v.node, Satellite: v.satellite.ID(), Ledger: v.ledger, Now: v.now,
		Buffers: v.buffers, Claim: v.claim, Lost: func() { v.lost.Add(1) },
		Groups: func(group uint32) (uint64, bool) {
			epoch := v.epoch.Load()
			return epoch, group == testGroup && epoch > 0
		},
	})
	must(err)
	v.host, err = transport.New(transport.Config{
		Key: v.node, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Idle: v.idle,
	})
	must(err)
	v.host.Handle(wire.Protocol, v.server.Serve)
	v.host.Handle(wire.AuditProtocol, v.server.ServeAudit)
	v.address, err = transport.ParseAddress(strings.Join(v.host.Addresses(), ","))
	must(err)
}

// stop takes the node down in good order, and returns once its peers know.
func (v *served) stop() {
	v.host.Close()
	v.store.Close()
	v.ledger.Close()
	for _, peer := range []*transport.Host{v.uplink, v.auditor} {
		for peer != nil && peer.Connected(v.node.ID()) && v.t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
	}
}

func (v *served) newGroup(epoch uint64) *order.Group {
	g := &order.Group{
		Satellite: v.satellite.ID(), ID: testGroup, Epoch: epoch, Scheme: testScheme,
		Nodes: make([]ident.ID, testScheme.Total), Issued: time.Now(),
	}
	for i := range g.Nodes {
		g.Nodes[i] = testKey(v.t).ID()
	}
	g.Nodes[testSlot] = v.node.ID()
	return g
}

func (v *served) newLimit(action order.Action, most int64) *order.Limit {
	serial, err := order.NewSerial(rand.Reader)
	if err != nil {
		v.t.Fatal(err)
	}
	now := time.Now()
	return &order.Limit{
		Satellite: v.satellite.ID(), Serial: serial, Uplink: v.uplink.ID(), Group: testGroup, Epoch: v.group.Epoch,
		Action: action, MaxBytes: most, Issued: now, Expires: now.Add(order.LimitLife),
	}
}

// lease signs a group record and an order limit.
func (v *served) lease(group *order.Group, limit *order.Limit) nodeclient.Lease {
	v.t.Helper()
	g, err := order.SignGroup(v.satellite, group)
	if err != nil {
		v.t.Fatal(err)
	}
	l, err := order.SignLimit(v.satellite, limit)
	if err != nil {
		v.t.Fatal(err)
	}
	return nodeclient.Lease{Group: group, SignedGroup: g, Limit: limit, SignedLimit: l}
}

func (v *served) dialer() nodeclient.Dialer { return nodeclient.Dialer{Host: v.uplink} }

func (v *served) openPut(most int64) *nodeclient.Put {
	v.t.Helper()
	p, err := v.dialer().OpenPut(context.Background(), v.address, v.lease(v.group, v.newLimit(order.ActionPut, most)))
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(p.Reset)
	return p
}

func (v *served) openGet(most int64) *nodeclient.Get {
	v.t.Helper()
	g, err := v.dialer().OpenGet(context.Background(), v.address, v.lease(v.group, v.newLimit(order.ActionGet, most)))
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(g.Reset)
	return g
}

// openAudit opens a stream of audits as the satellite.
func (v *served) openAudit() *nodeclient.Audit {
	v.t.Helper()
	if v.auditor == nil {
		v.auditor = testHost(v.t, transport.Config{Key: v.satellite})
	}
	a, err := nodeclient.Dialer{Host: v.auditor}.OpenAudit(context.Background(), v.address)
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(a.Reset)
	return a
}

// A testShard is the shard of the slot under test, with roots of a whole segment.
type testShard struct {
	id     order.SegmentID
	layout erasure.Layout
	root   merkle.Hash
	roots  []merkle.Hash
	data   []byte
}

// newTestShard makes a shard of so many bytes, a multiple of 64.
func newTestShard(t testing.TB, size int) *testShard {
	t.Helper()
	s := &testShard{data: make([]byte, size), roots: make([]merkle.Hash, testScheme.Total)}
	rand.Read(s.data)
	rand.Read(s.id[:])
	for i := range s.roots {
		rand.Read(s.roots[i][:])
	}
	var err error
	if s.layout, err = testScheme.Layout(int64(size * testScheme.Required)); err != nil {
		t.Fatal(err)
	}
	s.roots[testSlot] = merkle.ShardRoot(s.data)
	s.root = merkle.SegmentRoot(s.layout, s.roots)
	return s
}

// send sends the whole shard but for its end.
func (s *testShard) send(p *nodeclient.Put, frame int) error {
	if err := p.Begin(s.id, int64(len(s.data))); err != nil {
		return err
	}
	buffer := make([]byte, wire.HeaderSize+frame)
	for rest := s.data; len(rest) > 0; {
		n := copy(buffer[wire.HeaderSize:], rest)
		if err := p.Data(buffer[:wire.HeaderSize+n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// put sends the whole shard; the answer is to be waited for.
func (s *testShard) put(p *nodeclient.Put) error {
	if err := s.send(p, wire.MaxData); err != nil {
		return err
	}
	return p.End(s.layout, s.root, s.roots)
}

// store puts the shard and waits for its receipt.
func (v *served) put(s *testShard) {
	v.t.Helper()
	p := v.openPut(1 << 30)
	defer p.Close()
	if err := s.put(p); err != nil {
		v.t.Fatal(err)
	}
	if _, _, err := p.Answer(); err != nil {
		v.t.Fatal(err)
	}
}

// holds checks that the node gives back the shard.
func (v *served) holds(s *testShard) {
	v.t.Helper()
	g := v.openGet(1 << 30)
	defer g.Close()
	if err := g.Request(s.id, 0, len(s.data)); err != nil {
		v.t.Fatal(err)
	}
	got := make([]byte, len(s.data))
	if err := g.Receive(got); err != nil {
		v.t.Error(err)
	} else if !bytes.Equal(got, s.data) {
		v.t.Error("the node gave other bytes than were put")
	}
}

// A rawStream speaks to the server frame by frame, also against the rules.
type rawStream struct {
	*transport.Stream
	w *wire.Writer
	r *wire.Reader
}

func (v *served) raw() rawStream {
	v.t.Helper()
	s, err := v.uplink.Open(context.Background(), v.address, wire.Protocol)
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(s.Reset)
	return rawStream{Stream: s, w: wire.NewWriter(s), r: wire.NewReader(s)}
}

func (s rawStream) open(l nodeclient.Lease) error {
	return s.w.WriteControl(wire.TypeOpen, &pb.Open{Group: l.SignedGroup, Limit: l.SignedLimit})
}

// answer reads the next frame: PutDone, Proof and SegmentRoots are nil, Fail is its
// error.
func (s rawStream) answer() error {
	h, err := s.r.Next()
	if err != nil {
		return err
	}
	switch h.Type {
	case wire.TypePutDone:
		return s.r.ReadControl(&pb.PutDone{})
	case wire.TypeProof:
		return s.r.ReadControl(&pb.Proof{})
	case wire.TypeSegmentRoots:
		return s.r.ReadControl(&pb.SegmentRoots{})
	case wire.TypeData:
		_, err := s.r.ReadData(make([]byte, h.Length))
		return err
	case wire.TypeFail:
		var fail pb.Fail
		if err := s.r.ReadControl(&fail); err != nil {
			return err
		}
		return wire.FromFail(&fail)
	default:
		return fmt.Errorf("the node answered with %s", h.Type)
	}
}

// wantCode checks what a node has said.
func wantCode(t testing.TB, err error, code pb.Code) {
	t.Helper()
	var said *wire.Error
	if !errors.As(err, &said) || said.Code != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

// wantCut checks that the node sends nothing more.
func (s rawStream) wantCut(t testing.TB) {
	t.Helper()
	if err := s.answer(); err == nil || errors.As(err, new(*wire.Error)) {
		t.Errorf("the stream goes on with %v", err)
	}
}
