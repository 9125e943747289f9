package storagenode

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
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

// Shards around every boundary, all on one stream, answered while others follow.
func TestPutAndGet(t *testing.T) {
	v := newServed(t, nil)
	sizes := []int{
		64, 4032, 4096, 4160, 64<<10 - 64, 64 << 10, 64<<10 + 64, 256<<10 - 64, 256 << 10, 256<<10 + 64,
		1<<20 + 128, erasure.MaxSegment / testScheme.Required,
	}
	shards := make([]*testShard, len(sizes))
	p := v.openPut(1 << 30)
	var wait sync.WaitGroup
	wait.Go(func() {
		for i, size := range sizes {
			shards[i] = newTestShard(t, size)
			if err := shards[i].put(p); err != nil {
				t.Errorf("shard of %d bytes: %v", size, err)
				return
			}
		}
	})
	var answers []*order.Receipt
	for range sizes {
		_, receipt, err := p.Answer()
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, receipt)
	}
	wait.Wait()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	for i, s := range shards {
		if r := answers[i]; r.Segment != s.id || r.Root != s.root || r.Size != s.layout.Size || r.Slot != testSlot {
			t.Errorf("answer %d is for another shard", i)
		}
		v.holds(s)
	}
	v.stop()
	v.start()
	for _, s := range shards {
		v.holds(s)
	}
}

func TestRangesAndProofs(t *testing.T) {
	v := newServed(t, nil)
	s := newTestShard(t, 1<<20+64)
	v.put(s)
	g := v.openGet(1 << 30)
	edges := []int{0, 1, 4095, 4096, 65535, 65536, 256<<10 - 1, 256 << 10, 256<<10 + 1, 1 << 20, len(s.data)}
	type span struct{ from, to int }
	var spans []span
	for i, from := range edges {
		for _, to := range edges[i+1:] {
			spans = append(spans, span{from, to})
		}
	}
	go func() {
		for _, p := range spans { // runs ahead of what is received
			if err := g.Request(s.id, int64(p.from), p.to-p.from); err != nil {
				t.Error(err)
			}
		}
	}()
	for _, p := range spans {
		got := make([]byte, p.to-p.from)
		if err := g.Receive(got); err != nil || !bytes.Equal(got, s.data[p.from:p.to]) {
			t.Errorf("bytes %d to %d: %v", p.from, p.to, err)
		}
	}
	last := merkle.LeafCount(int64(len(s.data))) - 1
	for _, leaves := range []span{{0, 1}, {0, 16}, {15, 17}, {100, 101}, {last, last + 1}, {0, last + 1}} {
		got, err := g.Prove(s.id, s.layout, s.root, testSlot, leaves.from, leaves.to-leaves.from)
		want := s.data[leaves.from*merkle.LeafSize : min(len(s.data), leaves.to*merkle.LeafSize)]
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("leaves %d to %d: %v", leaves.from, leaves.to, err)
		}
	}
	if _, err := g.Prove(s.id, s.layout, s.root, testSlot, last+1, 1); !errors.Is(err, merkle.ErrRange) {
		t.Errorf("a leaf too many: %v", err)
	}
	if _, err := g.Prove(s.id, s.layout, merkle.Hash{1}, testSlot, 0, 1); !errors.Is(err, nodeclient.ErrWrongProof) {
		t.Errorf("proof for another root: %v", err)
	}
}

func TestCancelAndRepeat(t *testing.T) {
	v := newServed(t, nil)
	p := v.openPut(1 << 30)
	given, kept := newTestShard(t, 300<<10), newTestShard(t, 100<<10)
	if err := given.send(p, 1000); err != nil {
		t.Fatal(err)
	}
	if err := p.Cancel(); err != nil {
		t.Fatal(err)
	}
	for range 3 { // a repeat is answered like the first
		if err := kept.put(p); err != nil {
			t.Fatal(err)
		}
		if _, r, err := p.Answer(); err != nil || r.Segment != kept.id {
			t.Fatalf("%v, %v", r, err)
		}
	}
	g := v.openGet(1 << 30)
	g.Request(given.id, 0, 1)
	wantCode(t, g.Receive(make([]byte, 1)), pb.Code_CODE_NOT_FOUND)
	if used := v.store.Usage(); used.Shards != 1 {
		t.Errorf("%d shards are held", used.Shards)
	}
	// Another shard under the same name is not taken, and the first stays.
	other := newTestShard(t, 100<<10)
	other.id = kept.id
	if err := other.put(p); err != nil {
		t.Fatal(err)
	}
	_, _, err := p.Answer()
	wantCode(t, err, pb.Code_CODE_MISMATCH)
	if err := p.Begin(kept.id, 1); err == nil {
		t.Error("the stream goes on after a Fail")
	}
	v.holds(kept)
}

// What a stream may be opened with.
func TestOpenIsChecked(t *testing.T) {
	v := newServed(t, nil)
	stranger := testKey(t)
	type change struct {
		group func(*order.Group)
		limit func(*order.Limit)
		lease func(*nodeclient.Lease)
		code  pb.Code
	}
	cases := map[string]change{
		"other uplink":    {limit: func(l *order.Limit) { l.Uplink = stranger.ID() }, code: pb.Code_CODE_DENIED},
		"other group":     {limit: func(l *order.Limit) { l.Group++ }, code: pb.Code_CODE_DENIED},
		"other epoch":     {limit: func(l *order.Limit) { l.Epoch++ }, code: pb.Code_CODE_STALE_EPOCH},
		"not in group":    {group: func(g *order.Group) { g.Nodes[testSlot] = stranger.ID() }, code: pb.Code_CODE_DENIED},
		"expired":         {limit: func(l *order.Limit) { l.Issued, l.Expires = l.Issued.Add(-2*time.Hour), l.Expires.Add(-2*time.Hour) }, code: pb.Code_CODE_EXPIRED},
		"from the future": {limit: func(l *order.Limit) { l.Issued, l.Expires = l.Issued.Add(time.Hour), l.Expires.Add(time.Hour) }, code: pb.Code_CODE_EXPIRED},
		"forged limit":    {lease: func(l *nodeclient.Lease) { l.SignedLimit.Signature[0] ^= 1 }, code: pb.Code_CODE_DENIED},
		"forged group":    {lease: func(l *nodeclient.Lease) { l.SignedGroup.Body[9] ^= 1 }, code: pb.Code_CODE_DENIED},
		"no limit":        {lease: func(l *nodeclient.Lease) { l.SignedLimit = nil }, code: pb.Code_CODE_BAD_REQUEST},
		"no group":        {lease: func(l *nodeclient.Lease) { l.SignedGroup = nil }, code: pb.Code_CODE_BAD_REQUEST},
		"swapped records": {lease: func(l *nodeclient.Lease) { l.SignedGroup, l.SignedLimit = l.SignedLimit, l.SignedGroup }, code: pb.Code_CODE_DENIED},
		"none is signed": {lease: func(l *nodeclient.Lease) {
			l.SignedGroup, l.SignedLimit = &pb.Signed{}, &pb.Signed{}
		}, code: pb.Code_CODE_BAD_REQUEST},
	}
	for name, c := range cases {
		for _, action := range []order.Action{order.ActionPut, order.ActionGet} {
			t.Run(fmt.Sprint(name, " ", action), func(t *testing.T) {
				group, limit := *v.group, v.newLimit(action, 1000)
				group.Nodes = append([]ident.ID(nil), group.Nodes...)
				if c.group != nil {
					c.group(&group)
				}
				if c.limit != nil {
					c.limit(limit)
				}
				lease := v.lease(&group, limit)
				if c.lease != nil {
					c.lease(&lease)
				}
				s := v.raw()
				if err := s.open(lease); err != nil {
					t.Fatal(err)
				}
				wantCode(t, s.answer(), c.code)
				s.wantCut(t)
			})
		}
	}
	t.Run("other satellite", func(t *testing.T) {
		lease := v.lease(v.group, v.newLimit(order.ActionPut, 1000))
		other := newServed(t, nil)
		s := rawStream{}
		raw, err := v.uplink.Open(t.Context(), other.address, wire.Protocol)
		if err != nil {
			t.Fatal(err)
		}
		s.Stream, s.w, s.r = raw, wire.NewWriter(raw), wire.NewReader(raw)
		s.open(lease)
		wantCode(t, s.answer(), pb.Code_CODE_DENIED)
	})
}

// A newer epoch of the group ends puts under the older one, not gets.
func TestStaleEpoch(t *testing.T) {
	v := newServed(t, nil)
	held := newTestShard(t, 4096)
	v.put(held)
	p := v.openPut(1 << 20)
	if err := newTestShard(t, 64).put(p); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Answer(); err != nil {
		t.Fatal(err)
	}
	v.epoch.Store(testEpoch + 1)
	if err := newTestShard(t, 64).put(p); err == nil { // a node may refuse before the end
		_, _, err = p.Answer()
		wantCode(t, err, pb.Code_CODE_STALE_EPOCH)
	} else {
		wantCode(t, err, pb.Code_CODE_STALE_EPOCH)
	}
	s := v.raw()
	s.open(v.lease(v.group, v.newLimit(order.ActionPut, 1000)))
	wantCode(t, s.answer(), pb.Code_CODE_STALE_EPOCH)
	v.holds(held)
}

// A limit that expires ends the stream at the next request.
func TestExpiryOnTheWay(t *testing.T) {
	v := newServed(t, nil)
	held := newTestShard(t, 4096)
	p, g := v.openPut(1<<20), v.openGet(1<<20)
	if err := held.put(p); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Answer(); err != nil {
		t.Fatal(err)
	}
	g.Request(held.id, 0, 64)
	if err := g.Receive(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	v.ahead.Store(int64(order.LimitLife + time.Second))
	p.Begin(newTestShard(t, 64).id, 64)
	p.Cancel()
	_, _, err := p.Answer()
	wantCode(t, err, pb.Code_CODE_EXPIRED)
	g.Request(held.id, 0, 64)
	wantCode(t, g.Receive(make([]byte, 64)), pb.Code_CODE_EXPIRED)
}

// An answer to the first shard comes before the refusal of the second.
func TestPutRefusals(t *testing.T) {
	v := newServed(t, nil)
	data := func(n int) func(s rawStream) {
		return func(s rawStream) { s.w.WriteData(make([]byte, wire.HeaderSize+n)) }
	}
	begin := func(id []byte, most uint64) func(s rawStream) {
		return func(s rawStream) { s.w.WriteControl(wire.TypePutBegin, &pb.PutBegin{Segment: id, MaxSize: most}) }
	}
	id := func() []byte { return newTestShard(t, 64).id[:] }
	end := func(change func(*pb.PutEnd, *testShard)) func(s rawStream) {
		return func(s rawStream) {
			shard := newTestShard(t, 4096)
			m := &pb.PutEnd{Size: uint64(shard.layout.Size), Root: shard.root[:], ShardRoots: merkle.JoinHashes(shard.roots)}
			change(m, shard)
			begin(shard.id[:], 1<<20)(s)
			s.w.WriteData(append(make([]byte, wire.HeaderSize), shard.data...))
			s.w.WriteControl(wire.TypePutEnd, m)
		}
	}
	bytesOf := func(b ...byte) func(s rawStream) { return func(s rawStream) { s.Write(b) } }
	type steps []func(s rawStream)
	cases := map[string]struct {
		steps steps
		code  pb.Code
	}{
		"data first":            {steps{data(10)}, pb.Code_CODE_BAD_REQUEST},
		"end first":             {steps{func(s rawStream) { s.w.WriteControl(wire.TypePutEnd, &pb.PutEnd{}) }}, pb.Code_CODE_BAD_REQUEST},
		"cancel first":          {steps{func(s rawStream) { s.w.WriteControl(wire.TypePutCancel, &pb.PutCancel{}) }}, pb.Code_CODE_BAD_REQUEST},
		"begin twice":           {steps{begin(id(), 100), begin(id(), 100)}, pb.Code_CODE_BAD_REQUEST},
		"open twice":            {steps{func(s rawStream) { s.open(v.lease(v.group, v.newLimit(order.ActionPut, 1))) }}, pb.Code_CODE_BAD_REQUEST},
		"get":                   {steps{func(s rawStream) { s.w.WriteControl(wire.TypeGet, &pb.Get{Segment: id(), Length: 1}) }}, pb.Code_CODE_BAD_REQUEST},
		"done":                  {steps{func(s rawStream) { s.w.WriteControl(wire.TypePutDone, &pb.PutDone{}) }}, pb.Code_CODE_BAD_REQUEST},
		"no segment id":         {steps{begin(nil, 100)}, pb.Code_CODE_BAD_REQUEST},
		"short segment id":      {steps{begin(id()[:15], 100)}, pb.Code_CODE_BAD_REQUEST},
		"zero segment id":       {steps{begin(make([]byte, 16), 100)}, pb.Code_CODE_BAD_REQUEST},
		"no size":               {steps{begin(id(), 0)}, pb.Code_CODE_BAD_REQUEST},
		"size of a segment":     {steps{begin(id(), erasure.MaxSegment)}, pb.Code_CODE_BAD_REQUEST},
		"size beyond all":       {steps{begin(id(), 1<<63)}, pb.Code_CODE_BAD_REQUEST},
		"more than said":        {steps{begin(id(), 100), data(101)}, pb.Code_CODE_BAD_REQUEST},
		"more than said, later": {steps{begin(id(), 100), data(100), data(1)}, pb.Code_CODE_BAD_REQUEST},
		"more than the limit":   {steps{begin(id(), 16<<20), data(256 << 10), data(256 << 10), data(256 << 10), data(256 << 10), data(1)}, pb.Code_CODE_EXHAUSTED},
		"no bytes":              {steps{begin(id(), 100), func(s rawStream) { s.w.WriteControl(wire.TypePutEnd, &pb.PutEnd{}) }}, pb.Code_CODE_BAD_REQUEST},
		"too few bytes":         {steps{end(func(m *pb.PutEnd, s *testShard) { s.data = s.data[:4032] })}, pb.Code_CODE_MISMATCH},
		"too many bytes":        {steps{end(func(m *pb.PutEnd, s *testShard) { s.data = append(s.data, 0) })}, pb.Code_CODE_MISMATCH},
		"a bit flipped":         {steps{end(func(m *pb.PutEnd, s *testShard) { s.data[4095] ^= 1 })}, pb.Code_CODE_MISMATCH},
		"other size":            {steps{end(func(m *pb.PutEnd, s *testShard) { m.Size = 64 * 4 })}, pb.Code_CODE_MISMATCH},
		"size of no segment":    {steps{end(func(m *pb.PutEnd, s *testShard) { m.Size++ })}, pb.Code_CODE_BAD_REQUEST},
		"size too large":        {steps{end(func(m *pb.PutEnd, s *testShard) { m.Size = 1<<63 + 4096 })}, pb.Code_CODE_BAD_REQUEST},
		"other root":            {steps{end(func(m *pb.PutEnd, s *testShard) { m.Root[0] ^= 1 })}, pb.Code_CODE_MISMATCH},
		"short root":            {steps{end(func(m *pb.PutEnd, s *testShard) { m.Root = m.Root[1:] })}, pb.Code_CODE_BAD_REQUEST},
		"a shard root missing":  {steps{end(func(m *pb.PutEnd, s *testShard) { m.ShardRoots = m.ShardRoots[32:] })}, pb.Code_CODE_BAD_REQUEST},
		"a shard root too many": {steps{end(func(m *pb.PutEnd, s *testShard) { m.ShardRoots = append(m.ShardRoots, make([]byte, 32)...) })}, pb.Code_CODE_BAD_REQUEST},
		"torn shard root":       {steps{end(func(m *pb.PutEnd, s *testShard) { m.ShardRoots = m.ShardRoots[1:] })}, pb.Code_CODE_BAD_REQUEST},
		"other slot's root": {steps{end(func(m *pb.PutEnd, s *testShard) {
			s.roots[testSlot], s.roots[0] = s.roots[0], s.roots[testSlot]
			root := merkle.SegmentRoot(s.layout, s.roots)
			m.Root, m.ShardRoots = root[:], merkle.JoinHashes(s.roots)
		})}, pb.Code_CODE_MISMATCH},
		"unknown frame":       {steps{bytesOf(99, 0, 0, 0, 0)}, pb.Code_CODE_BAD_REQUEST},
		"oversized control":   {steps{bytesOf(2, 0, 1, 0, 1)}, pb.Code_CODE_BAD_REQUEST},
		"oversized data":      {steps{begin(id(), 100), bytesOf(3, 0, 4, 0, 1)}, pb.Code_CODE_BAD_REQUEST},
		"gigantic data":       {steps{begin(id(), 100), bytesOf(3, 255, 255, 255, 255)}, pb.Code_CODE_BAD_REQUEST},
		"empty data":          {steps{begin(id(), 100), bytesOf(3, 0, 0, 0, 0)}, pb.Code_CODE_BAD_REQUEST},
		"control of no sense": {steps{bytesOf(2, 0, 0, 0, 3, 255, 255, 255)}, pb.Code_CODE_BAD_REQUEST},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := v.raw()
			if err := s.open(v.lease(v.group, v.newLimit(order.ActionPut, 1<<20))); err != nil {
				t.Fatal(err)
			}
			good := newTestShard(t, 64)
			if name != "more than the limit" {
				begin(good.id[:], 64)(s)
				s.w.WriteData(append(make([]byte, wire.HeaderSize), good.data...))
				s.w.WriteControl(wire.TypePutEnd, &pb.PutEnd{Size: 256, Root: good.root[:], ShardRoots: merkle.JoinHashes(good.roots)})
			}
			for _, step := range c.steps {
				step(s) // fails when the node has refused already
			}
			if name != "more than the limit" {
				if err := s.answer(); err != nil {
					t.Errorf("the shard before: %v", err)
				}
			}
			wantCode(t, s.answer(), c.code)
			s.wantCut(t)
		})
	}
}

// "end" above changes the shard before it is begun; see that the unchanged one is taken.
func TestFramesByHand(t *testing.T) {
	v := newServed(t, nil)
	s, shard := v.raw(), newTestShard(t, 4096)
	s.open(v.lease(v.group, v.newLimit(order.ActionPut, 1<<20)))
	s.w.WriteControl(wire.TypePutBegin, &pb.PutBegin{Segment: shard.id[:], MaxSize: 1 << 20})
	for _, b := range shard.data { // as many frames as bytes
		s.w.WriteData([]byte{wire.HeaderSize: b})
	}
	s.w.WriteControl(wire.TypePutEnd, &pb.PutEnd{Size: uint64(shard.layout.Size), Root: shard.root[:], ShardRoots: merkle.JoinHashes(shard.roots)})
	if err := s.answer(); err != nil {
		t.Error(err)
	}
	s.CloseWrite()
	s.wantCut(t)
	v.holds(shard)
}

// A peer that breaks off leaves nothing behind.
func TestPutCutOff(t *testing.T) {
	v := newServed(t, func(v *served) { v.storeConfig.MaxWriters = 1 })
	for _, leave := range []func(s rawStream){
		func(s rawStream) { s.CloseWrite() },
		func(s rawStream) { s.Reset() },
		func(s rawStream) { s.Write([]byte{3, 0, 0}); s.CloseWrite() },
		func(s rawStream) { s.Write([]byte{3, 0, 0, 0, 9, 1}); s.CloseWrite() },
		func(s rawStream) { v.uplink.Disconnect(v.node.ID()) },
	} {
		s := v.raw()
		s.open(v.lease(v.group, v.newLimit(order.ActionPut, 1<<20)))
		s.w.WriteControl(wire.TypePutBegin, &pb.PutBegin{Segment: newTestShard(t, 64).id[:], MaxSize: 1 << 20})
		s.w.WriteData(make([]byte, wire.HeaderSize+100))
		leave(s)
		v.putWhenFree(newTestShard(t, 64))
	}
}

// putWhenFree puts a shard as soon as no other is being written.
func (v *served) putWhenFree(shard *testShard) {
	v.t.Helper()
	for {
		p := v.openPut(1 << 30)
		err := shard.put(p)
		if err == nil {
			_, _, err = p.Answer()
		}
		p.Reset()
		if errors.Is(err, wire.ErrBusy) {
			continue
		}
		if v.idle > 0 && (errors.Is(err, transport.ErrReset) || errors.Is(err, transport.ErrStalled)) {
			continue // this machine was too slow for such a short patience
		}
		if err != nil {
			v.t.Error(err)
		}
		return
	}
}

func TestBusy(t *testing.T) {
	v := newServed(t, func(v *served) { v.storeConfig.MaxWriters = 1 })
	shard := newTestShard(t, 64)
	other, err := v.store.Create(t.Context(), shardstore.Key{Segment: newTestShard(t, 64).id, Group: testGroup}, 64, testScheme.Total)
	if err != nil {
		t.Fatal(err)
	}
	p := v.openPut(1 << 30)
	if err = shard.put(p); err == nil {
		_, _, err = p.Answer()
	}
	wantCode(t, err, pb.Code_CODE_BUSY)
	other.Abort()
	v.put(shard)
}

// A full node says so, keeps what it has and goes on giving it.
func TestFull(t *testing.T) {
	v := newServed(t, nil)
	v.storeConfig.Capacity = v.store.Usage().Used + 20<<20
	v.stop()
	v.start()
	p := v.openPut(1 << 30)
	var held []*testShard
	for {
		shard := newTestShard(t, 4<<20)
		err := shard.put(p)
		if err == nil {
			_, _, err = p.Answer()
		}
		if err != nil {
			wantCode(t, err, pb.Code_CODE_FULL)
			break
		}
		held = append(held, shard)
	}
	if len(held) < 3 || len(held) > 5 {
		t.Errorf("%d shards of 4 MiB are in 20 MiB", len(held))
	}
	for _, s := range held {
		v.holds(s)
	}
}

func TestGetRefusals(t *testing.T) {
	v := newServed(t, nil)
	shard := newTestShard(t, 4096+64)
	v.put(shard)
	get := func(id []byte, offset uint64, length uint32) func(s rawStream) {
		return func(s rawStream) {
			s.w.WriteControl(wire.TypeGet, &pb.Get{Segment: id, Offset: offset, Length: length})
		}
	}
	prove := func(first uint64, count uint32) func(s rawStream) {
		return func(s rawStream) {
			s.w.WriteControl(wire.TypeProve, &pb.Prove{Segment: shard.id[:], First: first, Count: count})
		}
	}
	id := shard.id[:]
	cases := map[string]struct {
		step  func(s rawStream)
		code  pb.Code
		fatal bool
	}{
		"not held":          {get(newTestShard(t, 64).id[:], 0, 1), pb.Code_CODE_NOT_FOUND, false},
		"no segment id":     {get(nil, 0, 1), pb.Code_CODE_BAD_REQUEST, false},
		"no length":         {get(id, 0, 0), pb.Code_CODE_BAD_REQUEST, false},
		"behind the end":    {get(id, 4160, 1), pb.Code_CODE_BAD_REQUEST, false},
		"beyond the end":    {get(id, 4159, 2), pb.Code_CODE_BAD_REQUEST, false},
		"overflow":          {get(id, 1<<64-1, 2), pb.Code_CODE_BAD_REQUEST, false},
		"too long":          {get(id, 0, wire.MaxGet+1), pb.Code_CODE_BAD_REQUEST, false},
		"longest":           {get(id, 0, 1<<32-1), pb.Code_CODE_BAD_REQUEST, false},
		"no leaves":         {prove(0, 0), pb.Code_CODE_BAD_REQUEST, false},
		"leaf behind":       {prove(2, 1), pb.Code_CODE_BAD_REQUEST, false},
		"leaf beyond":       {prove(1, 2), pb.Code_CODE_BAD_REQUEST, false},
		"leaf overflow":     {prove(1<<64-1, 2), pb.Code_CODE_BAD_REQUEST, false},
		"too many leaves":   {prove(0, 1<<31), pb.Code_CODE_BAD_REQUEST, false},
		"put on get":        {func(s rawStream) { s.w.WriteControl(wire.TypePutBegin, &pb.PutBegin{Segment: id, MaxSize: 1}) }, pb.Code_CODE_BAD_REQUEST, true},
		"data on get":       {func(s rawStream) { s.w.WriteData(make([]byte, 10)) }, pb.Code_CODE_BAD_REQUEST, true},
		"no message":        {func(s rawStream) { s.Write([]byte{6, 0, 0, 0, 1, 255}) }, pb.Code_CODE_BAD_REQUEST, true},
		"unknown frame":     {func(s rawStream) { s.Write([]byte{0, 0, 0, 0, 0}) }, pb.Code_CODE_BAD_REQUEST, true},
		"oversized frame":   {func(s rawStream) { s.Write([]byte{6, 1, 0, 0, 0}) }, pb.Code_CODE_BAD_REQUEST, true},
		"more than allowed": {func(s rawStream) { get(id, 0, 4160)(s); get(id, 0, 900)(s) }, pb.Code_CODE_EXHAUSTED, false},
		"proof not allowed": {func(s rawStream) { get(id, 0, 1000)(s); prove(0, 1)(s) }, pb.Code_CODE_EXHAUSTED, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := v.raw()
			s.open(v.lease(v.group, v.newLimit(order.ActionGet, 5000)))
			c.step(s)
			err := s.answer()
			if err == nil { // the answer to a step before
				err = s.answer()
			}
			wantCode(t, err, c.code)
			if c.fatal {
				s.wantCut(t)
				return
			}
			get(id, 0, 64)(s)
			if err := s.answer(); err != nil {
				t.Errorf("the request after: %v", err)
			}
		})
	}
	t.Run("no open", func(t *testing.T) {
		s := v.raw()
		get(id, 0, 1)(s)
		wantCode(t, s.answer(), pb.Code_CODE_BAD_REQUEST)
		s.wantCut(t)
	})
}

// A disk that lost bytes shows as CORRUPT, one that changed them in the proof.
func TestDamagedShard(t *testing.T) {
	v := newServed(t, nil)
	shard := newTestShard(t, 1<<20)
	v.put(shard)
	var volume string
	filepath.WalkDir(v.dir, func(path string, e os.DirEntry, err error) error {
		if info, err := e.Info(); err == nil && !e.IsDir() && info.Size() >= 1<<20 {
			if raw, err := os.ReadFile(path); err == nil && bytes.Contains(raw, shard.data[:64]) {
				volume = path
			}
		}
		return nil
	})
	raw, err := os.ReadFile(volume)
	if err != nil {
		t.Fatal(err)
	}
	at := int64(bytes.Index(raw, shard.data[:64]))
	file, err := os.OpenFile(volume, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte{shard.data[70000] ^ 1}, at+70000); err != nil {
		t.Fatal(err)
	}
	g := v.openGet(1 << 30)
	_, err = g.Prove(shard.id, shard.layout, shard.root, testSlot, 70000/merkle.LeafSize, 1)
	wantCode(t, err, pb.Code_CODE_CORRUPT)
	if _, err := g.Prove(shard.id, shard.layout, shard.root, testSlot, 0, 1); err != nil {
		t.Errorf("leaves elsewhere: %v", err)
	}
	if err := file.Truncate(at + 300<<10); err != nil {
		t.Fatal(err)
	}
	g.Request(shard.id, 0, len(shard.data)) // fails after the first frame
	wantCode(t, g.Receive(make([]byte, len(shard.data))), pb.Code_CODE_CORRUPT)
	g.Request(shard.id, 0, 100)
	if err := g.Receive(make([]byte, 100)); err != nil {
		t.Errorf("bytes that are left: %v", err)
	}
}

// A peer that stalls loses its stream, and what it held is free again.
func TestStalls(t *testing.T) {
	v := newServed(t, func(v *served) { v.storeConfig.MaxWriters = 1 })
	held := newTestShard(t, 8<<20)
	v.put(held)
	v.stop()
	v.idle = 100 * time.Millisecond
	v.start()
	lease := v.lease(v.group, v.newLimit(order.ActionPut, 1<<20))
	for name, stall := range map[string]func(s rawStream){
		"before Open":  func(s rawStream) { s.Write([]byte{1}) },
		"within Open":  func(s rawStream) { s.Write([]byte{1, 0, 0, 1, 0, 7}) },
		"within Begin": func(s rawStream) { s.open(lease); s.Write([]byte{2, 0}) },
		"within a shard": func(s rawStream) {
			s.open(lease)
			s.w.WriteControl(wire.TypePutBegin, &pb.PutBegin{Segment: newTestShard(t, 64).id[:], MaxSize: 1000})
			s.w.WriteData(make([]byte, wire.HeaderSize+100))
		},
		"within data": func(s rawStream) {
			s.open(lease)
			s.w.WriteControl(wire.TypePutBegin, &pb.PutBegin{Segment: newTestShard(t, 64).id[:], MaxSize: 1000})
			s.Write([]byte{3, 0, 0, 0, 9, 1, 2})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := v.raw()
			stall(s)
			if err := s.answer(); !errors.Is(err, transport.ErrReset) {
				t.Errorf("got %v", err)
			}
			v.putWhenFree(newTestShard(t, 64))
		})
	}
	t.Run("not reading", func(t *testing.T) {
		s := v.raw()
		s.open(v.lease(v.group, v.newLimit(order.ActionGet, 1<<30)))
		for range 8 { // more than the windows take
			s.w.WriteControl(wire.TypeGet, &pb.Get{Segment: held.id[:], Length: 8 << 20})
		}
		// The node ends the stream, which shows once the peer tries to send on.
		var err error
		for err == nil {
			err = s.w.WriteControl(wire.TypeGet, &pb.Get{Segment: held.id[:], Length: 1})
		}
		if !errors.Is(err, transport.ErrReset) {
			t.Errorf("got %v", err)
		}
	})
}

// What was used of a limit stays used, whether the node stopped in order or not.
func TestLimitsOutliveRestarts(t *testing.T) {
	v := newServed(t, nil)
	shard := newTestShard(t, 64<<10)
	v.put(shard)
	put := v.lease(v.group, v.newLimit(order.ActionPut, 100<<10))
	get := v.lease(v.group, v.newLimit(order.ActionGet, 100<<10))
	use := func() (putErr, getErr error) {
		p, err := v.dialer().OpenPut(t.Context(), v.address, put)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Reset()
		if putErr = newTestShard(t, 64<<10).put(p); putErr == nil {
			_, _, putErr = p.Answer()
		}
		g, err := v.dialer().OpenGet(t.Context(), v.address, get)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Reset()
		g.Request(shard.id, 0, 64<<10)
		return putErr, g.Receive(make([]byte, 64<<10))
	}
	if putErr, getErr := use(); putErr != nil || getErr != nil {
		t.Fatal(putErr, getErr)
	}
	for range 3 {
		v.stop()
		v.start()
		putErr, getErr := use()
		wantCode(t, putErr, pb.Code_CODE_EXHAUSTED)
		wantCode(t, getErr, pb.Code_CODE_EXHAUSTED)
	}
}

// Many uplinks at once, each with shards of its own.
func TestManyAtOnce(t *testing.T) {
	v := newServed(t, nil)
	p := v.openPut(1 << 30)
	p.Reset()
	var wait sync.WaitGroup
	for range 16 {
		shards := make([]*testShard, 8)
		for i := range shards {
			shards[i] = newTestShard(t, 64<<uint(i))
		}
		put, get := v.openPut(1<<30), v.openGet(1<<30)
		wait.Go(func() {
			var answering sync.WaitGroup
			answering.Go(func() {
				for range shards {
					if _, _, err := put.Answer(); err != nil {
						t.Error(err)
						return
					}
				}
			})
			for _, s := range shards {
				if err := s.put(put); err != nil {
					t.Error(err)
				}
			}
			answering.Wait()
			for _, s := range shards {
				if err := get.Request(s.id, 0, len(s.data)); err != nil {
					t.Error(err)
				}
			}
			for _, s := range shards {
				got := make([]byte, len(s.data))
				if err := get.Receive(got); err != nil || !bytes.Equal(got, s.data) {
					t.Errorf("shard of %d bytes: %v", len(s.data), err)
				}
			}
		})
	}
	wait.Wait()
}

// Whatever a peer sends after a good Open, the server ends the stream and goes on.
func FuzzServe(f *testing.F) {
	v := newServed(f, nil)
	held := newTestShard(f, 4096)
	v.put(held)
	f.Add(true, []byte{2, 0, 0, 0, 0})
	f.Add(true, append([]byte{2, 0, 0, 0, 20, 10, 16}, append(held.id[:], 16, 100, 3, 0, 0, 0, 1, 7, 5, 0, 0, 0, 0)...))
	f.Add(false, append([]byte{6, 0, 0, 0, 20, 10, 16}, append(held.id[:], 24, 100)...))
	f.Add(false, append([]byte{7, 0, 0, 0, 20, 10, 16}, append(held.id[:], 24, 1)...))
	f.Fuzz(func(t *testing.T, put bool, frames []byte) {
		v.t = t
		action := order.ActionGet
		if put {
			action = order.ActionPut
		}
		raw, err := v.uplink.Open(context.Background(), v.address, wire.Protocol)
		if err != nil {
			t.Fatal(err)
		}
		s := rawStream{Stream: raw, w: wire.NewWriter(raw), r: wire.NewReader(raw)}
		defer s.Reset()
		s.open(v.lease(v.group, v.newLimit(action, 1<<20)))
		s.Write(frames)
		s.CloseWrite()
		for {
			err := s.answer()
			if err != nil && !errors.As(err, new(*wire.Error)) {
				break
			}
		}
		g := v.openGet(1 << 20)
		defer g.Close()
		g.Request(held.id, 0, 64)
		if err := g.Receive(make([]byte, 64)); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{16 << 10, 1 << 20, 16 << 20} {
		b.Run(fmt.Sprint(size>>10, "KiB"), func(b *testing.B) {
			v := newServed(b, func(v *served) { v.storeConfig.VolumeSize = 0 })
			shard := newTestShard(b, size)
			p := v.openPut(1 << 60)
			b.SetBytes(int64(size))
			done := make(chan error, 1)
			go func() {
				for range b.N {
					if _, _, err := p.Answer(); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
			for range b.N {
				rand.Read(shard.id[:])
				if err := shard.put(p); err != nil {
					b.Fatal(err)
				}
			}
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	for _, size := range []int{64 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size>>10, "KiB"), func(b *testing.B) {
			v := newServed(b, nil)
			shard := newTestShard(b, 16<<20)
			v.put(shard)
			g := v.openGet(1 << 60)
			into := make([]byte, size)
			b.SetBytes(int64(size))
			b.ResetTimer()
			go func() {
				for i := range b.N {
					g.Request(shard.id, int64(i*size%(16<<20)), size)
				}
			}()
			for range b.N {
				if err := g.Receive(into); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The delay that a single get adds on an open stream.
func BenchmarkGetRoundTrip(b *testing.B) {
	v := newServed(b, nil)
	shard := newTestShard(b, 1<<20)
	v.put(shard)
	g := v.openGet(1 << 60)
	into := make([]byte, 4096)
	for b.Loop() {
		g.Request(shard.id, 0, len(into))
		if err := g.Receive(into); err != nil {
			b.Fatal(err)
		}
	}
}
