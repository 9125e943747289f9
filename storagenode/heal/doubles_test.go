package heal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/storagenode/nodeclient"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

const (
	testGroup = uint32(7)
	testSlot  = 6 // of the node that heals
)

var testScheme = erasure.Scheme{Required: 4, RepairBelow: 6, Success: 8, Total: 10}

// A world is one group whose holders are in memory, but for the one that heals,
// which has a real store.
type world struct {
	t         testing.TB
	dir       string
	satellite ident.Key
	keys      []ident.Key // by slot
	node      ident.Key   // who heals
	store     *shardstore.Store
	healer    *Healer
	segments  []segment
	now       time.Time // stands still: nothing is tried again unless a test wants it

	mu        sync.Mutex
	faults    []fault // by slot
	idle      bool
	needs     []Need
	leases    int
	opened    int
	patient   int    // streams
	busyGroup uint32 // whose peers serve others first
	reported  []shardstore.Missing
	failing   error // of Lease
}

// A segment is whole here.
type segment struct {
	id     order.SegmentID
	layout erasure.Layout
	shards [][]byte
	roots  []merkle.Hash
	root   merkle.Hash
}

// A fault is how a holder misbehaves. The zero value is an honest one.
type fault struct {
	unreachable bool
	missing     bool  // it has no shards
	noRoots     bool  // it answers no Roots, though it has shards
	lie         bool  // its bytes are wrong
	breaks      int   // after so many windows a stream breaks
	says        error // to every request
	yieldsAfter int   // windows, if not 0
	yields      bool  // to others than those who are patient
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, dir: t.TempDir(), satellite: newKey(t), faults: make([]fault, testScheme.Total), now: time.Now()}
	for range testScheme.Total {
		w.keys = append(w.keys, newKey(t))
	}
	w.node = w.keys[testSlot]
	w.start()
	t.Cleanup(func() { w.store.Close() })
	return w
}

func newKey(t testing.TB) ident.Key {
	t.Helper()
	key, err := ident.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// start opens the store and makes a healer, also again.
func (w *world) start() {
	w.t.Helper()
	var err error
	w.store, err = shardstore.Open(shardstore.Config{
		Dirs: []string{filepath.Join(w.dir, "data")}, Reserve: 1 << 20, VolumeSize: 64 << 20,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.healer, err = New(Config{
		Node: w.node.ID(), Satellite: w.satellite.ID(), Store: w.store,
		Needs: w.wanted, Lease: w.lease, Open: w.open,
		Report: func(_ context.Context, _ uint32, m shardstore.Missing) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.reported = append(w.reported, m)
			return nil
		},
		Idle: func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.idle },
		Rate: 1 << 40, Now: func() time.Time { return w.now }, Random: func(n int) int { return n - 1 },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.healer.batchTime = time.Hour
}

func (w *world) wanted() []Need {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.needs
}

// urgently makes everything urgent.
func (w *world) urgently() {
	w.needs = []Need{{Group: testGroup, Slot: testSlot,
		Urgent: []Urgent{{Coverage: 5, Numbers: seqset.Of(seqset.Run{First: 1, Last: 1 << 30})}}}}
}

// add makes a segment and tells the store of it by the journal.
func (w *world) add(size int64) segment {
	w.t.Helper()
	s := newSegment(w.t, size)
	w.enter(s)
	return s
}

func (w *world) enter(s segment) {
	w.t.Helper()
	w.segments = append(w.segments, s)
	err := w.store.Advance(testGroup, []shardstore.Entry{{
		Seq: uint64(len(w.segments)), Segment: s.id, Live: true, Root: s.root, Size: s.layout.Size,
	}})
	if err != nil {
		w.t.Fatal(err)
	}
}

func newSegment(t testing.TB, size int64) segment {
	t.Helper()
	layout, err := testScheme.Layout(size)
	if err != nil {
		t.Fatal(err)
	}
	coder, err := erasure.NewCoder(testScheme.Required, testScheme.Total)
	if err != nil {
		t.Fatal(err)
	}
	s := segment{layout: layout, shards: make([][]byte, testScheme.Total)}
	if s.id, err = order.NewSegmentID(rand.Reader); err != nil {
		t.Fatal(err)
	}
	for stripe := range layout.Stripes() {
		chunks := make([][]byte, testScheme.Total)
		for i := range chunks {
			chunks[i] = make([]byte, layout.ChunkSize(stripe))
			if i < testScheme.Required {
				rand.Read(chunks[i])
			}
		}
		if err := coder.Encode(chunks); err != nil {
			t.Fatal(err)
		}
		for i := range chunks {
			s.shards[i] = append(s.shards[i], chunks[i]...)
		}
	}
	s.commit()
	return s
}

// commit computes the roots of the shards as they are.
func (s *segment) commit() {
	s.roots = nil
	for _, shard := range s.shards {
		s.roots = append(s.roots, merkle.ShardRoot(shard))
	}
	s.root = merkle.SegmentRoot(s.layout, s.roots)
}

func (w *world) lease(_ context.Context, group uint32) (*pb.GroupLease, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failing != nil {
		return nil, w.failing
	}
	w.leases++
	now := w.now
	g := &order.Group{Satellite: w.satellite.ID(), ID: group, Epoch: 3, Scheme: testScheme, Issued: now}
	m := &pb.GroupLease{}
	for slot, key := range w.keys {
		id := key.ID()
		g.Nodes = append(g.Nodes, id)
		m.Nodes = append(m.Nodes, &pb.NodeAddress{Node: id[:], Addresses: []string{"/ip4/127.0.0.1/tcp/1"}, Online: !w.faults[slot].unreachable})
	}
	var err error
	if m.Group, err = order.SignGroup(w.satellite, g); err != nil {
		return nil, err
	}
	m.Limit, err = order.SignLimit(w.satellite, &order.Limit{
		Satellite: w.satellite.ID(), Serial: order.Serial{byte(w.leases)}, Uplink: w.node.ID(), Group: group, Epoch: 3,
		Action: order.ActionGet, MaxBytes: 1 << 40, Issued: now, Expires: now.Add(order.LimitLife),
	})
	return m, err
}

// holder is a stream to one holder.
type holder struct {
	w        *world
	slot     int
	requests []request
	served   int
	patient  bool
	busy     bool
	over     bool
}

type request struct {
	segment order.SegmentID
	offset  int64
	length  int
}

var errBroken = errors.New("the stream broke")

func (w *world) open(_ context.Context, to transport.Address, lease nodeclient.Lease, patient bool) (Stream, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened++
	if patient {
		w.patient++
	}
	for slot, key := range w.keys {
		if key.ID() == to.ID {
			if w.faults[slot].unreachable {
				return nil, transport.ErrUnreachable
			}
			return &holder{w: w, slot: slot, patient: patient, busy: lease.Group.ID == w.busyGroup}, nil
		}
	}
	return nil, fmt.Errorf("nobody is %s", to.ID)
}

func (w *world) find(id order.SegmentID) *segment {
	for i := range w.segments {
		if w.segments[i].id == id {
			return &w.segments[i]
		}
	}
	return nil
}

func (h *holder) how() fault {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	return h.w.faults[h.slot]
}

func (h *holder) Request(id order.SegmentID, offset int64, length int) error {
	if h.over {
		return errBroken
	}
	h.requests = append(h.requests, request{id, offset, length})
	return nil
}

func (h *holder) Receive(into []byte) error {
	if h.over || len(h.requests) == 0 {
		return errBroken
	}
	q := h.requests[0]
	h.requests = h.requests[1:]
	how := h.how()
	s := h.w.find(q.segment)
	switch {
	case len(into) != q.length:
		panic("received into another length than was asked for")
	case how.says != nil:
		return how.says
	case (how.yields || h.busy) && h.patient:
		return wire.ErrBusy
	case how.yieldsAfter > 0 && h.patient && h.served >= how.yieldsAfter:
		return wire.ErrBusy
	case how.missing || s == nil:
		return wire.ErrNotFound
	case how.breaks > 0 && h.served >= how.breaks:
		h.over = true
		return errBroken
	}
	h.served++
	copy(into, s.shards[h.slot][q.offset:][:q.length])
	if how.lie {
		into[len(into)-1] ^= 1
	}
	return nil
}

func (h *holder) Roots(id order.SegmentID, _ erasure.Layout, _ merkle.Hash) ([]merkle.Hash, error) {
	how, s := h.how(), h.w.find(id)
	switch {
	case h.over || len(h.requests) > 0:
		return nil, errBroken
	case how.says != nil:
		return nil, how.says
	case (how.yields || h.busy) && h.patient:
		return nil, wire.ErrBusy
	case how.missing || how.noRoots || s == nil:
		return nil, wire.ErrNotFound
	}
	return s.roots, nil
}

func (h *holder) Close() error { h.over = true; return nil }
func (h *holder) Reset()       { h.over = true }
