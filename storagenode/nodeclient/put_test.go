package nodeclient

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
)

func TestReceiptsAreChecked(t *testing.T) {
	stranger := newKey(t)
	cases := map[string]func(n *node) *pb.Signed{
		"": func(n *node) *pb.Signed { return n.sign(n.key, n.receipt()) },
		"other node": func(n *node) *pb.Signed {
			r := n.receipt()
			r.Node = stranger.ID()
			return n.sign(stranger, r)
		},
		"forged": func(n *node) *pb.Signed {
			signed := n.sign(n.key, n.receipt())
			signed.Signature[5] ^= 1
			return signed
		},
		"none":  func(*node) *pb.Signed { return nil },
		"empty": func(*node) *pb.Signed { return &pb.Signed{} },
	}
	for name, change := range map[string]func(r *order.Receipt){
		"other segment": func(r *order.Receipt) { r.Segment[0] ^= 1 },
		"other root":    func(r *order.Receipt) { r.Root[0] ^= 1 },
		"other size":    func(r *order.Receipt) { r.Size += 256 },
		"other group":   func(r *order.Receipt) { r.Group++ },
		"other epoch":   func(r *order.Receipt) { r.Epoch++ },
		"other slot":    func(r *order.Receipt) { r.Slot++ },
		"other limit":   func(r *order.Receipt) { r.Serial[0] ^= 1 },
		"long ago":      func(r *order.Receipt) { r.Stored = r.Stored.Add(-time.Hour) },
		"future":        func(r *order.Receipt) { r.Stored = r.Stored.Add(time.Hour) },
	} {
		cases[name] = func(n *node) *pb.Signed {
			r := n.receipt()
			change(r)
			return n.sign(n.key, r)
		}
	}
	for name, receipt := range cases {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, func(n *node, s nodeStream) {
				if s.until(wire.TypePutEnd) {
					s.w.WriteControl(wire.TypePutDone, &pb.PutDone{Receipt: receipt(n)})
					s.until(wire.TypePutEnd)
				}
			})
			p := n.openPut(0)
			err := n.put(p)
			if name == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, ErrWrongReceipt) {
				t.Errorf("got %v", err)
			}
			if again := n.send(p); again != err {
				t.Errorf("and then %v", again)
			}
		})
	}
}

// Of an unverified receipt only the signature is left to be checked, and that tells
// which of several are wrong.
func TestUnverified(t *testing.T) {
	var forge atomic.Bool
	n := newNode(t, func(n *node, s nodeStream) {
		for s.until(wire.TypePutEnd) {
			signed := n.sign(n.key, n.receipt())
			if forge.Load() {
				signed.Signature[5] ^= 1
			}
			s.w.WriteControl(wire.TypePutDone, &pb.PutDone{Receipt: signed})
		}
	})
	p := n.openPut(0)
	take := func() Unverified {
		if err := n.send(p); err != nil {
			t.Fatal(err)
		}
		u, err := p.Unverified()
		if err != nil || u.Receipt.Segment != n.shard.id {
			t.Fatalf("%+v, %v", u.Receipt, err)
		}
		return u
	}
	right := take()
	forge.Store(true)
	wrong := take()
	for which := range 1 << 4 {
		var all []Unverified
		for i := range 4 {
			all = append(all, []Unverified{right, wrong}[which>>i&1])
		}
		for i, err := range Verify(all...) {
			if isWrong := which>>i&1 == 1; errors.Is(err, ErrWrongReceipt) != isWrong || (err != nil) != isWrong ||
				isWrong && !strings.Contains(err.Error(), n.key.ID().Short()) {
				t.Errorf("wrong ones %04b: the verdict of %d is %v", which, i, err)
			}
		}
	}
	if got := Verify(); len(got) != 0 {
		t.Errorf("of none: %v", got)
	}
}

// A node that refuses in the middle of a shard is heard at once, and what it said
// before still counts.
func TestPutRefused(t *testing.T) {
	n := newNode(t, func(n *node, s nodeStream) {
		if !s.until(wire.TypePutEnd) || !s.until(wire.TypePutBegin) {
			return
		}
		s.w.WriteControl(wire.TypePutDone, &pb.PutDone{Receipt: n.sign(n.key, n.receipt())})
		s.w.WriteControl(wire.TypeFail, wire.ToFail(wire.ErrFull))
		s.Refuse()
	})
	p := n.openPut(0)
	if err := n.send(p); err != nil {
		t.Fatal(err)
	}
	err := p.Begin(n.shard.id, 1<<20)
	for err == nil {
		err = p.Data(make([]byte, wire.HeaderSize+1000))
	}
	if !errors.Is(err, wire.ErrFull) {
		t.Errorf("sending: %v", err)
	}
	if _, receipt, err := p.Answer(); err != nil || receipt.Segment != n.shard.id {
		t.Errorf("the first answer: %v, %v", receipt, err)
	}
	if _, _, err := p.Answer(); !errors.Is(err, wire.ErrFull) {
		t.Errorf("the second answer: %v", err)
	}
}

func TestPutMisbehaviour(t *testing.T) {
	cases := map[string]struct {
		behave func(n *node, s nodeStream)
		want   error
	}{
		"two answers": {func(n *node, s nodeStream) {
			s.until(wire.TypePutEnd)
			for range 2 {
				s.w.WriteControl(wire.TypePutDone, &pb.PutDone{Receipt: n.sign(n.key, n.receipt())})
			}
			s.until(0)
		}, ErrMisbehaved},
		"data":          {func(n *node, s nodeStream) { s.w.WriteData(make([]byte, 10)); s.until(0) }, ErrMisbehaved},
		"request":       {func(n *node, s nodeStream) { s.w.WriteControl(wire.TypeGet, &pb.Get{}); s.until(0) }, ErrMisbehaved},
		"no frame":      {func(n *node, s nodeStream) { s.Write(bytes.Repeat([]byte{255}, 100)); s.until(0) }, ErrMisbehaved},
		"no message":    {func(n *node, s nodeStream) { s.Write([]byte{65, 0, 0, 0, 1, 255}); s.until(0) }, ErrMisbehaved},
		"cut frame":     {func(n *node, s nodeStream) { s.Write([]byte{65, 0, 0, 0, 9}); s.CloseWrite(); s.until(0) }, ErrMisbehaved},
		"closes":        {func(n *node, s nodeStream) { s.Close() }, transport.ErrReset},
		"resets":        {func(n *node, s nodeStream) { s.Reset() }, transport.ErrReset},
		"stalls":        {func(n *node, s nodeStream) { s.SetIdle(0); s.until(0) }, transport.ErrStalled},
		"unknown error": {func(n *node, s nodeStream) { s.w.WriteControl(wire.TypeFail, &pb.Fail{Code: 99}); s.Refuse() }, wire.ErrInternal},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, c.behave)
			var idle time.Duration
			if name == "stalls" {
				idle = 50 * time.Millisecond
			}
			p := n.openPut(idle)
			err := n.put(p)
			for err == nil { // what comes after a good answer shows in the next calls
				err = p.Cancel()
			}
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if len(err.Error()) > 200 || !strings.Contains(err.Error(), n.key.ID().Short()) {
				t.Errorf("%q", err)
			}
		})
	}
}

// A sender that was cut off ends, whatever becomes of the answers.
func TestCutOffWithoutLastWord(t *testing.T) {
	n := newNode(t, func(n *node, s nodeStream) { s.SetIdle(0); s.until(0) })
	s, err := n.uplink.Open(t.Context(), n.address, wire.Protocol)
	if err != nil {
		t.Fatal(err)
	}
	p := &Put{s: s, node: n.key.ID(), idle: time.Hour, over: make(chan struct{})} // nobody receives
	cut := fmt.Errorf("peer: %w", transport.ErrReset)
	if err := p.sent(cut); err != cut {
		t.Errorf("got %v", err)
	}
	if _, _, err := p.Answer(); err != cut {
		t.Errorf("and then %v", err)
	}
}

// While a node owes no answer it may be silent for as long as the sender is slow.
func TestSlowSender(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(n *node, s nodeStream) {
		s.SetIdle(0)
		for s.until(wire.TypePutEnd) {
			s.w.WriteControl(wire.TypePutDone, &pb.PutDone{Receipt: n.sign(n.key, n.receipt())})
		}
	})
	const idle = 2 * time.Second
	p := n.openPut(idle)
	if err := n.put(p); err != nil {
		t.Fatal(err)
	}
	<-time.After(2*idle + idle/10) // more than any answer may take
	if err := n.put(p); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := n.put(p); !errors.Is(err, ErrOver) {
		t.Errorf("after Close: %v", err)
	}
}

// End waits for answers when many are due, until the stream is over.
func TestManyUnanswered(t *testing.T) {
	n := newNode(t, func(n *node, s nodeStream) {
		s.SetIdle(0)
		for range MaxUnanswered {
			s.until(wire.TypePutEnd)
		}
		for range MaxUnanswered + 5 {
			s.w.WriteControl(wire.TypePutDone, &pb.PutDone{Receipt: n.sign(n.key, n.receipt())})
			s.until(wire.TypePutEnd)
		}
	})
	p := n.openPut(0)
	result := make(chan error, 1)
	go func() {
		var err error
		for err == nil {
			if err = p.Begin(n.shard.id, 1); err == nil {
				err = p.End(n.shard.layout, n.shard.root, n.shard.roots)
			}
		}
		result <- err
	}()
	for range MaxUnanswered + 5 {
		if _, _, err := p.Answer(); err != nil {
			t.Fatal(err)
		}
	}
	p.Reset()
	if err := <-result; !errors.Is(err, ErrOver) && !errors.Is(err, transport.ErrReset) {
		t.Errorf("got %v", err)
	}
}

func TestCloseWithUnanswered(t *testing.T) {
	n := newNode(t, func(n *node, s nodeStream) { s.SetIdle(0); s.until(0) })
	p := n.openPut(0)
	if err := n.send(p); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); !errors.Is(err, ErrOver) {
		t.Errorf("got %v", err)
	}
	if _, _, err := p.Answer(); !errors.Is(err, ErrOver) {
		t.Errorf("the answer: %v", err)
	}
}
