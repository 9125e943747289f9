package storagenode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/storagenode/nodeclient"
)

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
	// The same limits all along: a node remembers only so many of one uplink.
	const plenty = 1 << 50
	leases := map[bool]nodeclient.Lease{
		true:  v.lease(v.group, v.newLimit(order.ActionPut, plenty)),
		false: v.lease(v.group, v.newLimit(order.ActionGet, plenty)),
	}
	f.Fuzz(func(t *testing.T, put bool, frames []byte) {
		v.t = t
		raw, err := v.uplink.Open(context.Background(), v.address, wire.Protocol)
		if err != nil {
			t.Fatal(err)
		}
		s := rawStream{Stream: raw, w: wire.NewWriter(raw), r: wire.NewReader(raw)}
		defer s.Reset()
		s.open(leases[put])
		s.Write(frames)
		s.CloseWrite()
		for {
			err := s.answer()
			if err != nil && !errors.As(err, new(*wire.Error)) {
				break
			}
		}
		g, err := v.dialer().OpenGet(context.Background(), v.address, leases[false])
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		g.Request(held.id, 0, 64)
		if err := g.Receive(make([]byte, 64)); err != nil {
			t.Error(err)
		}
	})
}
