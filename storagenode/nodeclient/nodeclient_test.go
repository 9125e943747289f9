package nodeclient

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
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
	uplink  *transport.Host
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
				wire.TypePutCancel: &pb.PutCancel{}, wire.TypeGet: &pb.Get{}, wire.TypeProve: &pb.Prove{},
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

// While a node owes no answer it may be silent for as long as the sender is slow.
func TestSlowSender(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(n *node, s nodeStream) {
		s.SetIdle(0)
		for s.until(wire.TypePutEnd) {
			s.w.WriteControl(wire.TypePutDone, &pb.PutDone{Receipt: n.sign(n.key, n.receipt())})
		}
	})
	p := n.openPut(500 * time.Millisecond)
	for range 2 {
		if err := n.put(p); err != nil {
			t.Fatal(err)
		}
		<-time.After(1100 * time.Millisecond) // more than any answer may take
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

// get asks for and receives the first so many bytes of the shard.
func (n *node) get(g *Get, length int) ([]byte, error) {
	if err := g.Request(n.shard.id, 0, length); err != nil {
		return nil, err
	}
	into := make([]byte, length)
	return into, g.Receive(into)
}

func frame(data []byte) []byte { return append(make([]byte, wire.HeaderSize), data...) }

func TestGetAnswers(t *testing.T) {
	fail := func(s nodeStream, err error) { s.w.WriteControl(wire.TypeFail, wire.ToFail(err)) }
	cases := map[string]struct {
		answer func(n *node, s nodeStream)
		want   error
		goesOn bool
	}{
		"one frame": {func(n *node, s nodeStream) { s.w.WriteData(frame(n.shard.data[:1000])) }, nil, true},
		"two frames": {func(n *node, s nodeStream) {
			s.w.WriteData(frame(n.shard.data[:1]))
			s.w.WriteData(frame(n.shard.data[1:1000]))
		}, nil, true},
		"not found": {func(n *node, s nodeStream) { fail(s, wire.ErrNotFound) }, wire.ErrNotFound, true},
		"exhausted": {func(n *node, s nodeStream) { fail(s, order.ErrAmount) }, order.ErrAmount, true},
		"corrupt, on the way": {func(n *node, s nodeStream) {
			s.w.WriteData(frame(n.shard.data[:10]))
			fail(s, wire.ErrCorrupt)
		}, wire.ErrCorrupt, true},
		"too many bytes": {func(n *node, s nodeStream) { s.w.WriteData(frame(n.shard.data[:1001])) }, ErrMisbehaved, false},
		"too many in two": {func(n *node, s nodeStream) {
			s.w.WriteData(frame(n.shard.data[:999]))
			s.w.WriteData(frame(n.shard.data[:2]))
		}, ErrMisbehaved, false},
		"too few":       {func(n *node, s nodeStream) { s.w.WriteData(frame(n.shard.data[:999])); s.Close() }, transport.ErrReset, false},
		"cut frame":     {func(n *node, s nodeStream) { s.Write([]byte{3, 0, 0, 3, 232, 1}); s.Close() }, ErrMisbehaved, false},
		"proof":         {func(n *node, s nodeStream) { s.w.WriteControl(wire.TypeProof, &pb.Proof{}) }, ErrMisbehaved, false},
		"no frame":      {func(n *node, s nodeStream) { s.Write(make([]byte, 100)) }, ErrMisbehaved, false},
		"resets":        {func(n *node, s nodeStream) { s.Reset() }, transport.ErrReset, false},
		"stalls":        {func(n *node, s nodeStream) {}, transport.ErrStalled, false},
		"stalls midway": {func(n *node, s nodeStream) { s.w.WriteData(frame(n.shard.data[:10])) }, transport.ErrStalled, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, func(n *node, s nodeStream) {
				s.SetIdle(0)
				s.until(wire.TypeGet)
				c.answer(n, s)
				for s.until(wire.TypeGet) {
					s.w.WriteData(frame(n.shard.data[:500]))
				}
			})
			var idle time.Duration
			if c.want == transport.ErrStalled {
				idle = 50 * time.Millisecond
			}
			g := n.openGet(idle)
			got, err := n.get(g, 1000)
			if !errors.Is(err, c.want) || err == nil && !bytes.Equal(got, n.shard.data[:1000]) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if err != nil && (len(err.Error()) > 200 || !strings.Contains(err.Error(), n.key.ID().Short())) {
				t.Errorf("%q", err)
			}
			got, again := n.get(g, 500)
			if c.goesOn && (again != nil || !bytes.Equal(got, n.shard.data[:500])) {
				t.Errorf("the next request: %v", again)
			}
			if !c.goesOn && again == nil {
				t.Error("the stream goes on")
			}
		})
	}
}

// prove answers a Prove for one leaf with a proof that change spoils.
func (n *node) prove(s nodeStream, change func(m *pb.Proof, leaves []byte) []byte) {
	offset, length, err := merkle.Window(n.shard.layout, 3, 1)
	if err != nil {
		n.t.Error(err)
	}
	window := n.shard.data[offset:][:length]
	proof, err := merkle.Prove(n.shard.layout, slot, n.shard.roots, n.shard.hasher.Subtrees(), 3, 1, window)
	if err != nil {
		n.t.Error(err)
	}
	m := &pb.Proof{
		Size: uint64(n.shard.layout.Size), Path: merkle.JoinHashes(proof.Path), SlotPath: merkle.JoinHashes(proof.SlotPath),
		Length: merkle.LeafSize,
	}
	leaves := change(m, bytes.Clone(n.shard.data[3*merkle.LeafSize:][:merkle.LeafSize]))
	s.w.WriteControl(wire.TypeProof, m)
	if len(leaves) > 0 {
		s.w.WriteData(frame(leaves))
	}
}

func TestProofsAreChecked(t *testing.T) {
	cases := map[string]struct {
		change func(m *pb.Proof, leaves []byte) []byte
		want   error
	}{
		"good":         {func(m *pb.Proof, leaves []byte) []byte { return leaves }, nil},
		"leaf changed": {func(m *pb.Proof, leaves []byte) []byte { leaves[4095] ^= 1; return leaves }, ErrWrongProof},
		"path changed": {func(m *pb.Proof, leaves []byte) []byte { m.Path[0] ^= 1; return leaves }, ErrWrongProof},
		"path cut":     {func(m *pb.Proof, leaves []byte) []byte { m.Path = m.Path[32:]; return leaves }, ErrWrongProof},
		"slot path longer": {func(m *pb.Proof, leaves []byte) []byte {
			m.SlotPath = append(m.SlotPath, m.Path[:32]...)
			return leaves
		}, ErrWrongProof},
		"slot path changed": {func(m *pb.Proof, leaves []byte) []byte { m.SlotPath[31] ^= 128; return leaves }, ErrWrongProof},
		"torn path":         {func(m *pb.Proof, leaves []byte) []byte { m.Path = m.Path[1:]; return leaves }, ErrMisbehaved},
		"torn slot path":    {func(m *pb.Proof, leaves []byte) []byte { m.SlotPath = m.SlotPath[1:]; return leaves }, ErrMisbehaved},
		"other size":        {func(m *pb.Proof, leaves []byte) []byte { m.Size += 64; return leaves }, ErrMisbehaved},
		"other length":      {func(m *pb.Proof, leaves []byte) []byte { m.Length = 1 << 31; return leaves }, ErrMisbehaved},
		"more leaves":       {func(m *pb.Proof, leaves []byte) []byte { return append(leaves, 1) }, ErrMisbehaved},
		"fewer leaves":      {func(m *pb.Proof, leaves []byte) []byte { return leaves[1:] }, transport.ErrStalled},
		"no leaves":         {func(m *pb.Proof, leaves []byte) []byte { return nil }, transport.ErrStalled},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, func(n *node, s nodeStream) {
				s.SetIdle(0)
				for s.until(wire.TypeProve) {
					n.prove(s, c.change)
				}
			})
			var idle time.Duration
			if c.want == transport.ErrStalled {
				idle = 50 * time.Millisecond
			}
			g := n.openGet(idle)
			leaves, err := g.Prove(n.shard.id, n.shard.layout, n.shard.root, slot, 3, 1)
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if (err == nil) != (leaves != nil) {
				t.Error("leaves were given that are not proved")
			}
		})
	}
}

// Reset frees whoever waits.
func TestGetReset(t *testing.T) {
	n := newNode(t, func(n *node, s nodeStream) { s.SetIdle(0); s.until(0) })
	for name, wait := range map[string]func(g *Get) error{
		"Receive of no request": func(g *Get) error { return g.Receive(make([]byte, 1)) },
		"Receive": func(g *Get) error {
			_, err := n.get(g, 1)
			return err
		},
		"Request": func(g *Get) error {
			for {
				if err := g.Request(n.shard.id, 0, 1); err != nil {
					return err
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := n.openGet(0)
			result := make(chan error, 1)
			go func() { result <- wait(g) }()
			g.Reset()
			if err := <-result; !errors.Is(err, ErrOver) {
				t.Errorf("got %v", err)
			}
			if err := g.Request(n.shard.id, 0, 1); !errors.Is(err, ErrOver) {
				t.Errorf("and then %v", err)
			}
		})
	}
}

func TestGetClose(t *testing.T) {
	ended := make(chan error, 1)
	n := newNode(t, func(n *node, s nodeStream) {
		_, err := s.r.Next()
		ended <- err
	})
	g := n.openGet(0)
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != io.EOF && !errors.Is(err, transport.ErrReset) {
		t.Errorf("the node sees %v", err)
	}
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
