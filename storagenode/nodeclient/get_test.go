package nodeclient

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
)

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

// Parts of a request are received one by one, however the frames lie, and share
// what the node says of it.
func TestGetParts(t *testing.T) {
	parts := []int{400, 100, 500}
	cases := map[string]struct {
		answer func(n *node, s nodeStream)
		good   int // parts received
		want   error
		goesOn bool
	}{
		"one frame": {func(n *node, s nodeStream) { s.w.WriteData(frame(n.shard.data[:1000])) }, 3, nil, true},
		"across parts": {func(n *node, s nodeStream) {
			s.w.WriteData(frame(n.shard.data[:1]))
			s.w.WriteData(frame(n.shard.data[1:700]))
			s.w.WriteData(frame(n.shard.data[700:1000]))
		}, 3, nil, true},
		"fails at once": {func(n *node, s nodeStream) {
			s.w.WriteControl(wire.TypeFail, wire.ToFail(wire.ErrNotFound))
		}, 0, wire.ErrNotFound, true},
		"fails on the way": {func(n *node, s nodeStream) {
			s.w.WriteData(frame(n.shard.data[:450]))
			s.w.WriteControl(wire.TypeFail, wire.ToFail(wire.ErrCorrupt))
		}, 1, wire.ErrCorrupt, true},
		"too many bytes": {func(n *node, s nodeStream) {
			s.w.WriteData(frame(n.shard.data[:500]))
			s.w.WriteData(frame(n.shard.data[:501]))
		}, 2, ErrMisbehaved, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			lengths := make(chan uint32, 1)
			n := newNode(t, func(n *node, s nodeStream) {
				s.SetIdle(0)
				s.r.Next()
				var m pb.Get
				s.r.ReadControl(&m)
				lengths <- m.Length
				c.answer(n, s)
				for s.until(wire.TypeGet) {
					s.w.WriteData(frame(n.shard.data[:500]))
				}
			})
			g := n.openGet(0)
			if err := g.RequestParts(n.shard.id, 0, parts); err != nil {
				t.Fatal(err)
			}
			if all := <-lengths; all != 1000 {
				t.Errorf("the node was asked for %d bytes", all)
			}
			from := 0
			for i, length := range parts {
				into := make([]byte, length)
				err := g.Receive(into)
				if i < c.good && (err != nil || !bytes.Equal(into, n.shard.data[from:][:length])) {
					t.Errorf("part %d: %v", i, err)
				}
				if i >= c.good && !errors.Is(err, c.want) {
					t.Errorf("part %d: %v, want %v", i, err, c.want)
				}
				from += length
			}
			if got, err := n.get(g, 500); (err == nil && bytes.Equal(got, n.shard.data[:500])) != c.goesOn {
				t.Errorf("the next request: %v", err)
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

func TestRootsAreChecked(t *testing.T) {
	cases := map[string]struct {
		answer func(n *node, s nodeStream, m *pb.SegmentRoots)
		want   error
		goesOn bool
	}{
		"good": {func(n *node, s nodeStream, m *pb.SegmentRoots) { s.w.WriteControl(wire.TypeSegmentRoots, m) }, nil, true},
		"one changed": {func(n *node, s nodeStream, m *pb.SegmentRoots) {
			m.ShardRoots[70] ^= 1
			s.w.WriteControl(wire.TypeSegmentRoots, m)
		}, ErrWrongProof, true},
		"swapped": {func(n *node, s nodeStream, m *pb.SegmentRoots) {
			m.ShardRoots = append(m.ShardRoots[32:], m.ShardRoots[:32]...)
			s.w.WriteControl(wire.TypeSegmentRoots, m)
		}, ErrWrongProof, true},
		"one too few": {func(n *node, s nodeStream, m *pb.SegmentRoots) {
			m.ShardRoots = m.ShardRoots[32:]
			s.w.WriteControl(wire.TypeSegmentRoots, m)
		}, ErrMisbehaved, false},
		"torn": {func(n *node, s nodeStream, m *pb.SegmentRoots) {
			m.ShardRoots = m.ShardRoots[1:]
			s.w.WriteControl(wire.TypeSegmentRoots, m)
		}, ErrMisbehaved, false},
		"other size": {func(n *node, s nodeStream, m *pb.SegmentRoots) {
			m.Size += 64
			s.w.WriteControl(wire.TypeSegmentRoots, m)
		}, ErrMisbehaved, false},
		"not found": {func(n *node, s nodeStream, m *pb.SegmentRoots) {
			s.w.WriteControl(wire.TypeFail, wire.ToFail(wire.ErrNotFound))
		}, wire.ErrNotFound, true},
		"a proof": {func(n *node, s nodeStream, m *pb.SegmentRoots) {
			s.w.WriteControl(wire.TypeProof, &pb.Proof{})
		}, ErrMisbehaved, false},
		"stalls": {func(n *node, s nodeStream, m *pb.SegmentRoots) {}, transport.ErrStalled, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, func(n *node, s nodeStream) {
				s.SetIdle(0)
				s.until(wire.TypeRoots)
				c.answer(n, s, &pb.SegmentRoots{Size: uint64(n.shard.layout.Size), ShardRoots: merkle.JoinHashes(n.shard.roots)})
				for s.until(wire.TypeGet) {
					s.w.WriteData(frame(n.shard.data[:500]))
				}
			})
			var idle time.Duration
			if c.want == transport.ErrStalled {
				idle = 50 * time.Millisecond
			}
			g := n.openGet(idle)
			roots, err := g.Roots(n.shard.id, n.shard.layout, n.shard.root)
			if !errors.Is(err, c.want) || err == nil && !slices.Equal(roots, n.shard.roots) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if err != nil && roots != nil {
				t.Error("roots were given that are not proved")
			}
			if got, err := n.get(g, 500); (err == nil && bytes.Equal(got, n.shard.data[:500])) != c.goesOn {
				t.Errorf("the next request: %v", err)
			}
		})
	}
	n := newNode(t, func(n *node, s nodeStream) {})
	if _, err := n.openGet(0).Roots(n.shard.id, erasure.Layout{}, n.shard.root); !errors.Is(err, erasure.ErrLayout) {
		t.Errorf("of no layout: %v", err)
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
