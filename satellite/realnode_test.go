package satellite

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
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
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/storagenode"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// realNode is the server of a storage node with its store, whose claims and
// whose view of the journals a test controls.
type realNode struct {
	*testNode
	t      testing.TB
	s      *running
	key    ident.Key
	dir    string
	store  *shardstore.Store
	server *storagenode.Server

	mu     sync.Mutex
	claims map[uint32]*pb.Signed // signed last, by group
	before func()                // if set: called once before the next audit is served
	unable bool                  // it cannot say which claims it made
	honest bool                  // it does not convict itself of what it is about to tell

	misread   func(*shardstore.Entry) // if set: changes what follow reads
	committed []*testShard            // last, by put
}

// realNodeOf gives the holder of a key a store and a server of audits.
func (r *running) realNodeOf(node *testNode, key ident.Key) *realNode {
	r.t.Helper()
	n := &realNode{testNode: node, t: r.t, s: r, key: key, dir: r.t.TempDir(), claims: make(map[uint32]*pb.Signed)}
	var err error
	n.store, err = shardstore.Open(shardstore.Config{
		Dirs: []string{filepath.Join(n.dir, "data")}, Reserve: 1 << 20, VolumeSize: 64 << 20, Logger: noLog, Now: time.Now,
	})
	must(r.t, err)
	r.t.Cleanup(func() { _ = n.store.Close() })
	ledger, err := storagenode.OpenLedger(filepath.Join(n.dir, "ledger"), time.Now, noLog)
	must(r.t, err)
	r.t.Cleanup(func() { _ = ledger.Close() })
	n.server, err = storagenode.NewServer(storagenode.ServerConfig{
		Store: n.store, Key: key, Satellite: r.ID(), Ledger: ledger, Now: r.now, Claim: n.claimed,
		Groups: func(uint32) (uint64, bool) { return 0, false },
	})
	must(r.t, err)
	n.serve(func(ctx context.Context, s *transport.Stream) { n.server.ServeAudit(ctx, s) })
	return n
}

// serve has audits served by something else, after what is to come before.
func (n *realNode) serve(handler func(context.Context, *transport.Stream)) {
	n.host.Handle(wire.AuditProtocol, func(ctx context.Context, s *transport.Stream) {
		n.mu.Lock()
		before := n.before
		n.before = nil
		n.mu.Unlock()
		if before != nil {
			before()
		}
		handler(ctx, s)
	})
}

// whenAsked has f called once a challenge was drawn and before it is answered.
func (n *realNode) whenAsked(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.before = f
}

// claimed is what the server is told of the newest claim: that it leaves out
// everything, so that the server owns up to what is missing like a liar's. An
// honest one waits until that is told.
func (n *realNode) claimed(group uint32) (c storagenode.NamedClaim, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	signed := n.claims[group]
	if signed == nil || n.unable {
		return c, false
	}
	c.Digest = order.Digest(signed)
	if n.honest {
		opened, err := order.OpenClaim(signed, n.key.ID())
		must(n.t, err)
		c.Claim = *opened
	}
	return c, true
}

func (n *realNode) setUnable(unable bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.unable = unable
}

// sign signs a claim on all that the journal has, but for what is missing.
func (n *realNode) sign(group uint32, missing ...uint64) *pb.Signed {
	n.t.Helper()
	journals, err := n.s.meta.Journals(n.t.Context(), []uint32{group})
	must(n.t, err)
	c := n.s.claimFor(n.key, group, journals[group].Head)
	c.Missing = seqset.Numbers(missing)
	signed, err := order.SignClaim(n.key, &c)
	must(n.t, err)
	n.mu.Lock()
	n.claims[group] = signed
	n.mu.Unlock()
	return signed
}

// claim signs a claim and hands it in.
func (n *realNode) claim(group uint32, missing ...uint64) *pb.Signed {
	n.t.Helper()
	signed := n.sign(group, missing...)
	n.hand(signed)
	return signed
}

func (n *realNode) hand(signed *pb.Signed) {
	n.t.Helper()
	_, err := n.Claim(n.t.Context(), &pb.ClaimRequest{Claims: []*pb.Signed{signed}})
	must(n.t, err)
}

// follow brings the node's store to the end of a journal.
func (n *realNode) follow(group uint32) {
	n.t.Helper()
	for {
		cursor, err := n.store.Cursor(group)
		must(n.t, err)
		page, err := n.s.meta.Entries(n.t.Context(), group, cursor, 1000)
		must(n.t, err)
		if len(page.Entries) == 0 {
			return
		}
		var entries []shardstore.Entry
		for _, e := range page.Entries {
			entries = append(entries, shardstore.Entry{
				Seq: e.Seq, Segment: e.Segment, Live: e.Kind == pb.EntryKind_ENTRY_KIND_LIVE, Root: e.Root, Size: e.Size,
			})
			if n.misread != nil {
				n.misread(&entries[len(entries)-1])
			}
		}
		must(n.t, n.store.Advance(group, entries))
	}
}

// object is one object of segments that the node stores its shards of.
type object struct {
	project meta.ProjectNumber
	name    string
	shards  []*testShard // of the node
	numbers []uint64     // of the live entries
}

// put commits an object of n segments to a group, and stores those shards of the
// node that keep says.
func (n *realNode) put(group uint32, name string, count int, keep func(i int) bool) *object {
	n.t.Helper()
	return n.putAll(group, name, count, int64(testScheme.Required)*3*4096, keep)
}

// putSized is put of segments of a size of which the node keeps all shards.
func (n *realNode) putSized(group uint32, name string, count int, size int64) *object {
	n.t.Helper()
	return n.putAll(group, name, count, size, allOfThem)
}

func (n *realNode) putAll(group uint32, name string, count int, size int64, keep func(i int) bool) *object {
	n.t.Helper()
	ctx := n.t.Context()
	g, err := n.s.groups.get(group)
	must(n.t, err)
	slot, _ := g.SlotOf(n.key.ID())
	layout, err := g.Scheme.Layout(size)
	must(n.t, err)
	o := &object{name: name, project: n.s.testProject()}
	commit := meta.CommitRequest{Project: o.project, Bucket: "tested", Key: component(name)}
	for i := range count {
		shard := newTestShard(layout, slot, n.key.ID(), name, i)
		o.shards = append(o.shards, shard)
		if keep(i) {
			n.keep(group, shard)
		}
		commit.Segments = append(commit.Segments, meta.NewSegment{
			ID: shard.id, Group: group, Epoch: g.Epoch, Size: layout.Size, Root: shard.root, Held: []byte{1},
		})
		commit.Extents = append(commit.Extents, meta.Extent{Segment: shard.id, Length: 1})
		commit.Size++
	}
	must(n.t, second(n.s.meta.Commit(ctx, commit)))
	journals, err := n.s.meta.Journals(ctx, []uint32{group})
	must(n.t, err)
	for i := range uint64(count) {
		o.numbers = append(o.numbers, journals[group].Head-uint64(count)+1+i)
	}
	n.committed = o.shards
	n.follow(group)
	return o
}

// testProject is a project with a bucket.
func (r *running) testProject() meta.ProjectNumber {
	r.t.Helper()
	p, err := r.meta.ProjectByName(r.t.Context(), "tested")
	if err == nil {
		return p.Number
	}
	made, err := r.meta.CreateProject(r.t.Context(), "tested", [16]byte{}, [16]byte{})
	must(r.t, err)
	must(r.t, second(r.meta.CreateBucket(r.t.Context(), made.Number, "tested")))
	return made.Number
}

func (n *realNode) deleteObject(o *object) {
	n.t.Helper()
	must(n.t, second(n.s.meta.DeleteObjects(n.t.Context(), meta.DeleteRequest{
		Project: o.project, Bucket: "tested", Keys: [][]byte{component(o.name)},
	})))
}

// testShard is one shard of a segment of which nobody has the others.
type testShard struct {
	id     order.SegmentID
	slot   int
	layout erasure.Layout
	data   []byte
	roots  []merkle.Hash
	root   merkle.Hash
}

func newTestShard(l erasure.Layout, slot int, node ident.ID, name string, i int) *testShard {
	seed := merkle.Hash(node)
	copy(seed[:], fmt.Sprintf("%s %d.", name, i))
	random := rand.NewChaCha8(seed)
	s := &testShard{slot: slot, layout: l, data: make([]byte, l.ShardSize()), roots: make([]merkle.Hash, l.Total)}
	random.Read(s.id[:])
	random.Read(s.data)
	for i := range s.roots {
		random.Read(s.roots[i][:])
	}
	h := merkle.NewHasher(l.ShardSize())
	h.Write(s.data)
	s.roots[slot] = h.Root()
	s.root = merkle.SegmentRoot(l, s.roots)
	return s
}

func (n *realNode) keep(group uint32, s *testShard) {
	n.t.Helper()
	key := shardstore.Key{Segment: s.id, Group: group}
	w, err := n.store.Create(n.t.Context(), key, int64(len(s.data)), s.layout.Total)
	must(n.t, err)
	must(n.t, second(w.Write(s.data)))
	must(n.t, second(w.Commit(n.t.Context(), shardstore.Meta{
		Key: key, Slot: s.slot, Layout: s.layout, Root: s.root, ShardRoots: s.roots,
	})))
}

// damage turns a bit of a shard's data on the disk.
func (n *realNode) damage(s *testShard) {
	n.t.Helper()
	volumes, err := filepath.Glob(filepath.Join(n.dir, "data", "volumes", "*.vol"))
	must(n.t, err)
	turned := 0
	for _, path := range volumes {
		content, err := os.ReadFile(path)
		must(n.t, err)
		at := bytes.Index(content, s.data)
		if at < 0 {
			continue
		}
		turned++
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		must(n.t, err)
		must(n.t, second(f.WriteAt([]byte{s.data[0] ^ 1}, int64(at))))
		must(n.t, f.Close())
	}
	if turned != 1 {
		n.t.Fatalf("the shard's data was found in %d volumes of %v", turned, volumes)
	}
}

func allOfThem(int) bool { return true }

func allBut(numbers ...int) func(int) bool {
	return func(i int) bool { return !slices.Contains(numbers, i) }
}
