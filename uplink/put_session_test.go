package uplink

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/storagenode/nodeclient"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// fakeNode is a node as a slotSender sees it, on the clock of synctest.
type fakeNode struct {
	slot   int
	dial   time.Duration // takes so long to reach
	part   time.Duration // takes so long for each part
	answer time.Duration // takes so long for each receipt
	refuse error
	forge  bool // its receipts

	mu    sync.Mutex
	parts int
	ended int
}

// key is that of the node of a slot.
func (n *fakeNode) key() ident.Key { return ident.FromSeed([32]byte{byte(n.slot + 1)}) }

// receipt is what the node says when it has its shard of a segment.
func (n *fakeNode) receipt(id order.SegmentID) nodeclient.Unverified {
	r := &order.Receipt{
		Node: n.key().ID(), Segment: id, Size: 1, Group: 1, Epoch: 1, Slot: n.slot, Serial: order.Serial{1}, Stored: time.Now(),
	}
	signed, err := order.SignReceipt(n.key(), r)
	if err != nil {
		panic(err)
	}
	if n.forge {
		signed.Signature[5] ^= 1
	}
	return nodeclient.Unverified{Signed: signed, Receipt: r}
}

// forever is longer than any test lasts.
const forever = 1000 * time.Hour

// fakeStream is a putStream to a fakeNode.
type fakeStream struct {
	node    *fakeNode
	segment order.SegmentID
	ended   chan order.SegmentID
	reset   chan struct{}
	once    sync.Once
}

var errFakeReset = errors.New("reset")

func (s *fakeStream) wait(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-s.reset:
		return errFakeReset
	}
}

func (s *fakeStream) Begin(id order.SegmentID, _ int64) error {
	s.segment = id
	return s.node.refuse
}

func (s *fakeStream) Data([]byte) error {
	err := s.wait(s.node.part)
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	s.node.parts++
	return err
}

func (s *fakeStream) Last(frame []byte) error { return s.Data(frame) }

func (s *fakeStream) End(erasure.Layout, merkle.Hash, []merkle.Hash) error {
	s.ended <- s.segment
	return nil
}

func (s *fakeStream) Unverified() (u nodeclient.Unverified, err error) {
	select {
	case id := <-s.ended:
		if err := s.wait(s.node.answer); err != nil {
			return u, err
		}
		s.node.mu.Lock()
		defer s.node.mu.Unlock()
		s.node.ended++
		return s.node.receipt(id), nil
	case <-s.reset:
		return u, errFakeReset
	}
}

func (s *fakeStream) Reset()       { s.once.Do(func() { close(s.reset) }) }
func (s *fakeStream) Close() error { s.Reset(); return nil }

// fakeSession is a session with six fake nodes, of which five have to take a
// segment.
func fakeSession(t *testing.T, nodes []*fakeNode) *putSession {
	t.Helper()
	return fakeSessionOf(t, erasure.Scheme{Required: 3, RepairBelow: 4, Success: 5, Total: 6}, nodes)
}

func fakeSessionOf(t *testing.T, scheme erasure.Scheme, nodes []*fakeNode) *putSession {
	t.Helper()
	coder, err := erasure.NewCoder(scheme.Required, scheme.Total)
	if err != nil {
		t.Fatal(err)
	}
	l := &lease{group: &order.Group{ID: 1, Scheme: scheme}}
	slots := make(map[ident.ID]*fakeNode)
	for slot, node := range nodes {
		node.slot = slot
		slots[node.key().ID()] = node
		l.nodes = append(l.nodes, leaseNode{address: transport.Address{ID: node.key().ID()}, online: true})
	}
	open := func(ctx context.Context, to transport.Address) (putStream, error) {
		node := slots[to.ID]
		select {
		case <-time.After(node.dial):
			return &fakeStream{node: node, ended: make(chan order.SegmentID, 100), reset: make(chan struct{})}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s := newPutSession(l, coder, newPeers(time.Now), defaultTolerances(), open)
	t.Cleanup(func() {
		s.abandon()
		s.tasks.Wait()
	})
	return s
}

// sendSegment sends a segment of so many full batches, as an upload does, and
// returns once it is stored.
func sendSegment(t *testing.T, s *putSession, memory *share, batches int) *delivery {
	t.Helper()
	ctx := context.Background()
	w := newSegmentWriter(order.SegmentID{1}, s, sealer(seal.NewSegment([32]byte{}, [16]byte{}, 0)), batches*batchStripes)
	for range batches {
		if err := s.pace(ctx); err != nil {
			t.Fatal(err)
		}
		buffers := gatherFor(t, s, memory)
		b := newBatch(w.scheme.Required, batchStripes, buffers)
		b.filled = b.limit * b.stripePlain()
		b.close()
		index := w.add(b)
		if err := w.carry(index, b); err != nil {
			t.Fatal(err)
		}
	}
	w.close()
	if err := w.first.wait(ctx); err != nil {
		t.Fatal(err)
	}
	w.release()
	return w.first
}

func gatherFor(t *testing.T, s *putSession, memory *share) []*buffer {
	t.Helper()
	for range 1000 {
		ctx, cancel := context.WithTimeout(context.Background(), s.tolerate.shortage)
		buffers, err := memory.take(ctx, s.scheme().Total)
		cancel()
		if err == nil {
			return buffers
		}
		s.relieve()
	}
	t.Fatal("memory never came free")
	return nil
}

func fakeNodes(change func([]*fakeNode)) []*fakeNode {
	nodes := make([]*fakeNode, 6)
	for i := range nodes {
		nodes[i] = &fakeNode{part: 10 * time.Millisecond, answer: 5 * time.Millisecond}
	}
	change(nodes)
	return nodes
}

// What one bad node of six may cost a segment of 20 batches, which takes 200 ms
// of sending when all are well.
func TestOneBadNodeCostsLittle(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*fakeNode)
		most   time.Duration
	}{
		"none":         {func(*fakeNode) {}, 210 * time.Millisecond},
		"refuses":      {func(n *fakeNode) { n.refuse = errors.New("full") }, 210 * time.Millisecond},
		"forges":       {func(n *fakeNode) { n.forge = true }, 210 * time.Millisecond},
		"black hole":   {func(n *fakeNode) { n.dial = forever }, 330 * time.Millisecond},
		"stalls":       {func(n *fakeNode) { n.part = forever }, 330 * time.Millisecond},
		"mute":         {func(n *fakeNode) { n.answer = forever }, 210 * time.Millisecond},
		"a tenth":      {func(n *fakeNode) { n.part = 100 * time.Millisecond }, 350 * time.Millisecond},
		"a bit slower": {func(n *fakeNode) { n.part = 11 * time.Millisecond }, 230 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := fakeSession(t, fakeNodes(func(nodes []*fakeNode) { test.change(nodes[2]) }))
				begin := time.Now()
				sendSegment(t, s, newPool(1<<30).share(), 20)
				if took := time.Since(begin); took > test.most {
					t.Errorf("it took %v, more than %v", took, test.most)
				}
			})
		})
	}
}

// A straggler is fed after the segment is stored, and given up when it takes too
// long.
func TestStragglerBudget(t *testing.T) {
	for name, test := range map[string]struct {
		part time.Duration
		gets bool
	}{
		"in time":  {60 * time.Millisecond, true},
		"too late": {200 * time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := fakeSession(t, fakeNodes(func(nodes []*fakeNode) { nodes[0].part = test.part }))
				pool := newPool(1 << 30)
				d := sendSegment(t, s, pool.share(), 20)
				<-d.settled
				if got := d.receipts[0] != nil; got != test.gets {
					t.Errorf("the straggler gave a receipt: %v, for %v", got, d.causes[0])
				}
				synctest.Wait()
				if pool.used > 0 {
					t.Errorf("%d buffers are held after all is settled", pool.used)
				}
			})
		})
	}
}

// When memory runs out because of one slot, that one is given up, and only it.
func TestShortMemoryGivesUpTheSlowest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := fakeNodes(func(nodes []*fakeNode) { nodes[4].part = forever })
		s := fakeSession(t, nodes)
		begin := time.Now()
		// Data is kept till the end: 20 batches of 3, and little beyond.
		d := sendSegment(t, s, newPool(72*bufferSize).share(), 20)
		if took := time.Since(begin); took > time.Second {
			t.Errorf("it took %v", took)
		}
		<-d.settled
		for slot := range nodes {
			if (d.receipts[slot] == nil) != (slot == 4) {
				t.Errorf("slot %d: %v", slot, d.causes[slot])
			}
		}
		if !errors.Is(d.causes[4], errSlow) {
			t.Errorf("slot 4: %v", d.causes[4])
		}
	})
}

// A slot that is far slower gets every few segments whole, instead of a part of
// each.
func TestSlowSlotSkipsSegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := fakeNodes(func(nodes []*fakeNode) { nodes[1].part = 40 * time.Millisecond })
		s := fakeSession(t, nodes)
		pool := newPool(1 << 30)
		begin := time.Now()
		var last *delivery
		for range 20 {
			last = sendSegment(t, s, pool.share(), 20)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("20 segments took %v", took)
		}
		<-last.settled
		if got := nodes[1].ended; got < 3 || got > 10 {
			t.Errorf("the slow slot has %d of 20 segments", got)
		}
		if nodes[1].parts > 20*(nodes[1].ended+2) {
			t.Errorf("it was sent %d parts for %d segments", nodes[1].parts, nodes[1].ended)
		}
	})
}

// Many small segments suffer from a mute node only until it is noticed.
func TestMuteNodeIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fakeSession(t, fakeNodes(func(nodes []*fakeNode) { nodes[5].answer = forever }))
		memory := newPool(1 << 30).share()
		with := 0
		for range 100 {
			d := sendSegment(t, s, memory, 1)
			if d.shards[5] != nil {
				with++
			}
			time.Sleep(50 * time.Millisecond)
		}
		if with > 20 {
			t.Errorf("the mute node was given %d of 100 segments", with)
		}
	})
}

func TestDeliveryLost(t *testing.T) {
	full := errors.New("full")
	for name, fail := range map[string]func(*fakeNode){
		"refused": func(n *fakeNode) { n.refuse = full },
		"forged":  func(n *fakeNode) { n.forge = true },
	} {
		t.Run(name, func(t *testing.T) { testDeliveryLost(t, fail) })
	}
}

func testDeliveryLost(t *testing.T, fail func(*fakeNode)) {
	synctest.Test(t, func(t *testing.T) {
		s := fakeSession(t, fakeNodes(func(nodes []*fakeNode) { fail(nodes[0]); fail(nodes[3]) }))
		memory := newPool(1 << 30).share()
		w := newSegmentWriter(order.SegmentID{1}, s, sealer(seal.NewSegment([32]byte{}, [16]byte{}, 0)), batchStripes)
		b := newBatch(3, batchStripes, memory.tryTake(6))
		b.filled = 100_000
		b.close()
		index := w.add(b)
		w.close()
		if err := w.carry(index, b); err != nil {
			t.Fatal(err)
		}
		if err := w.first.wait(context.Background()); !errors.Is(err, ErrTooFewNodes) {
			t.Errorf("error %v", err)
		}
		<-w.first.settled
		w.release()
		synctest.Wait()
		if memory.held > 0 {
			t.Errorf("%d buffers are held", memory.held)
		}
	})
}

func TestIdleStreamsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fakeSession(t, fakeNodes(func([]*fakeNode) {}))
		memory := newPool(1 << 30).share()
		sendSegment(t, s, memory, 1)
		time.Sleep(idleStream + time.Second)
		for _, slot := range s.slots {
			slot.mu.Lock()
			if slot.stream != nil {
				t.Errorf("slot %d keeps its stream", slot.slot)
			}
			slot.mu.Unlock()
		}
		sendSegment(t, s, memory, 1)
	})
}

// A sender is woken for a shard only if there is something to do before the first
// of its parts is there: to open a stream.
func TestEnqueueWakes(t *testing.T) {
	for name, c := range map[string]struct {
		stream *answering
		wakes  bool
	}{
		"no stream":       {nil, true},
		"a stream":        {&answering{}, false},
		"a broken stream": {&answering{err: errSlow}, true},
		"a late stream":   {&answering{late: true}, true},
	} {
		s := newSlotSender(nil, 0, leaseNode{})
		s.stream = c.stream
		s.enqueue(new(shard))
		if woken := len(s.wake) > 0; woken != c.wakes {
			t.Errorf("%s: woken %t", name, woken)
		}
	}
}
