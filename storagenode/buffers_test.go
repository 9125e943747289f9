package storagenode

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
)

func TestBufferPool(t *testing.T) {
	p := newBufferPool(16)
	p.patient = time.Nanosecond
	busy := func(err error) {
		t.Helper()
		wantCode(t, err, pb.Code_CODE_BUSY)
	}
	one, two := testKey(t).ID(), testKey(t).ID()
	first, again, other := p.join(one), p.join(one), p.join(two)
	a, err := first.get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := again.get(t.Context())
	if err != nil || len(b) != bufferSize {
		t.Fatal(err)
	}
	_, err = first.get(t.Context())
	busy(err)
	if _, err = other.get(t.Context()); err != nil {
		t.Errorf("another peer: %v", err)
	}
	first.put(a)
	p.leave(one)
	if a, err = again.get(t.Context()); err != nil {
		t.Errorf("one was given back: %v", err)
	}
	for len(p.tokens) < cap(p.tokens) {
		if _, err := p.join(testKey(t).ID()).get(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	_, err = other.get(t.Context())
	busy(err)
	again.put(a)
	again.put(b)
	if _, err = other.get(t.Context()); err != nil {
		t.Errorf("what others gave back: %v", err)
	}
	_, err = other.get(t.Context())
	busy(err)
	p.leave(one)
	if p.shares[one] != nil || p.shares[two] == nil {
		t.Error("shares outlive their streams, or do not live as long")
	}
	p.patient = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := other.get(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a node that stops: %v", err)
	}
}

// Shards that a peer has begun keep nobody from putting, not even itself; frames it
// has begun keep no other peer from it.
func TestOnePeerCannotTakeAllBuffers(t *testing.T) {
	v := newServed(t, func(v *served) { v.buffers = 16 })
	lease := v.lease(v.group, v.newLimit(order.ActionPut, 1<<30))
	begun := func(frame []byte) {
		s, id := v.raw(), newTestShard(t, 64).id
		s.open(lease)
		s.w.WriteControl(wire.TypePutBegin, &pb.PutBegin{Segment: id[:], MaxSize: 1 << 20})
		s.Write(frame)
	}
	for range 100 {
		begun(nil)
	}
	held := newTestShard(t, 8<<20)
	v.put(held)
	for range 50 {
		begun([]byte{3, 0, 0, 0, 9, 1, 2}) // a data frame that does not go on
	}
	v.waitForBuffers(2)
	v.uplink = testHost(t, transport.Config{})
	v.put(newTestShard(t, 64))
	v.holds(held)
}

// waitForBuffers waits until so many buffers are in use.
func (v *served) waitForBuffers(n int) {
	for len(v.server.buffers.tokens) < n && v.t.Context().Err() == nil {
		time.Sleep(time.Millisecond)
	}
}

// Proofs that nobody takes hold a buffer each, and do not keep others from theirs.
func TestProofsNotTaken(t *testing.T) {
	v := newServed(t, nil)
	s := newTestShard(t, 16<<20)
	v.put(s)
	lease := v.lease(v.group, v.newLimit(order.ActionGet, 1<<30))
	const proofs = 3 * maxProofs
	for range proofs {
		g := v.raw()
		g.open(lease)
		g.w.WriteControl(wire.TypeProve, &pb.Prove{Segment: s.id[:], First: 7, Count: maxProve})
	}
	v.waitForBuffers(proofs)
	v.uplink = testHost(t, transport.Config{})
	g := v.openGet(1 << 30)
	leaves, err := g.Prove(s.id, s.layout, s.root, testSlot, 4095, 1)
	if err != nil || !bytes.Equal(leaves, s.data[4095*4096:]) {
		t.Errorf("%d bytes, %v", len(leaves), err)
	}
}
