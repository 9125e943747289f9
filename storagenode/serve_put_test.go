package storagenode

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// Shards around every boundary, all on one stream, answered while others follow.
func TestPutAndGet(t *testing.T) {
	v := newServed(t, nil)
	sizes := []int{
		64, 4032, 4096, 4160, maxSmall - 64, maxSmall, maxSmall + 64, 64, 64<<10 - 64, 64 << 10, 64<<10 + 64,
		256<<10 - 64, 256 << 10, 256<<10 + 64, 1<<20 + 128, erasure.MaxSegment / testScheme.Required, 64, 64, 1 << 20, 4096,
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

// A receipt must not make a shard seem younger than it is when it expires: the
// repeat of a staged one is dated as the first.
func TestRepeatIsDatedLikeTheFirst(t *testing.T) {
	v := newServed(t, nil)
	s := newTestShard(t, 8192)
	v.put(s)
	key := shardstore.Key{Segment: s.id, Group: testGroup}
	first, err := v.store.Stat(key)
	if err != nil {
		t.Fatal(err)
	}
	v.ahead.Store(int64(10 * time.Hour))
	repeat := func() time.Time {
		limit := v.newLimit(order.ActionPut, 1<<20)
		limit.Issued, limit.Expires = v.now(), v.now().Add(time.Hour)
		p, err := v.dialer().OpenPut(t.Context(), v.address, v.lease(v.group, limit))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Reset()
		if err := s.put(p); err != nil {
			t.Fatal(err)
		}
		_, receipt, err := p.Answer()
		if err != nil {
			t.Fatal(err)
		}
		return receipt.Stored
	}
	if got := repeat(); !got.Equal(first.Created) {
		t.Errorf("the receipt for a shard of %s is dated %s", first.Created, got)
	}
	// Once the journal has it, the shard does not expire any more.
	entry := shardstore.Entry{Seq: 1, Segment: s.id, Live: true, Root: s.root, Size: s.layout.Size}
	if err := v.store.Advance(testGroup, []shardstore.Entry{entry}); err != nil {
		t.Fatal(err)
	}
	if got := repeat(); got.Sub(first.Created) < 9*time.Hour {
		t.Errorf("the receipt for a live shard is dated %s", got)
	}
}

// An answer to the first shard comes before the refusal of the second, whichever
// goroutine it is of.
func TestPutRefusals(t *testing.T) {
	for name, size := range map[string]int{"small": 64, "large": 64 << 10} {
		t.Run(name, func(t *testing.T) { testPutRefusals(t, size) })
	}
}

func testPutRefusals(t *testing.T, before int) {
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
			good := newTestShard(t, before)
			if name != "more than the limit" {
				begin(good.id[:], uint64(before))(s)
				s.w.WriteData(append(make([]byte, wire.HeaderSize), good.data...))
				s.w.WriteControl(wire.TypePutEnd, &pb.PutEnd{Size: uint64(good.layout.Size), Root: good.root[:], ShardRoots: merkle.JoinHashes(good.roots)})
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

// Behind a shard that was refused none is answered, small or not.
func TestNothingAfterARefusal(t *testing.T) {
	v := newServed(t, nil)
	for range 20 {
		s := v.raw()
		s.open(v.lease(v.group, v.newLimit(order.ActionPut, 1<<20)))
		for i, size := range []int{maxSmall + 64, 64, 4096} {
			shard := newTestShard(t, size)
			s.w.WriteControl(wire.TypePutBegin, &pb.PutBegin{Segment: shard.id[:], MaxSize: uint64(size)})
			if i == 0 {
				shard.data[0] ^= 1
			}
			s.w.WriteData(append(make([]byte, wire.HeaderSize), shard.data...))
			s.w.WriteControl(wire.TypePutEnd, &pb.PutEnd{Size: uint64(shard.layout.Size), Root: shard.root[:], ShardRoots: merkle.JoinHashes(shard.roots)})
		}
		wantCode(t, s.answer(), pb.Code_CODE_MISMATCH)
		s.wantCut(t)
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
