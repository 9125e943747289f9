package merkle

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/internal/golden"
)

// A segment is what a node in slot holds of one; only its own shard is real.
type segment struct {
	layout     erasure.Layout
	slot       int
	data       []byte
	subtrees   []Hash
	shardRoots []Hash
	root       Hash
}

func newSegment(t testing.TB, l erasure.Layout, slot int) *segment {
	t.Helper()
	if err := l.Validate(); err != nil {
		t.Fatal(err)
	}
	s := &segment{layout: l, slot: slot, data: golden.Bytes(fmt.Sprintf("shard %d", slot), int(l.ShardSize()))}
	for i := range l.Total {
		s.shardRoots = append(s.shardRoots, Hash(golden.Bytes(fmt.Sprintf("root %d", i), HashSize)))
	}
	h := NewHasher(l.ShardSize())
	h.Write(s.data)
	s.subtrees = slices.Clone(h.Subtrees())
	s.shardRoots[slot] = h.Root()
	s.root = SegmentRoot(l, s.shardRoots)
	return s
}

// prove makes a proof from as little of the shard as Window asks for.
func (s *segment) prove(t testing.TB, first, count int) (leaves []byte, p Proof) {
	t.Helper()
	offset, length, err := Window(s.layout, first, count)
	if err != nil {
		t.Fatal(err)
	}
	window := bytes.Clone(s.data[offset : offset+length])
	p, err = Prove(s.layout, s.slot, s.shardRoots, s.subtrees, first, count, window)
	if err != nil {
		t.Fatal(err)
	}
	offset, length, err = LeafRange(s.layout, first, count)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(s.data[offset : offset+length]), p
}

func (s *segment) check(t testing.TB, first, count int) {
	t.Helper()
	leaves, p := s.prove(t, first, count)
	want := Proof{
		Path:     referencePath(cutLeaves(s.data), first, first+count),
		SlotPath: referencePath(rootLeaves(s.shardRoots), s.slot, s.slot+1),
	}
	if !slices.Equal(p.Path, want.Path) || !slices.Equal(p.SlotPath, want.SlotPath) {
		t.Fatalf("%+v: proof of %d leaves from %d differs from the reference", s.layout, count, first)
	}
	if err := VerifyProof(s.root, s.layout, s.slot, first, count, leaves, p); err != nil {
		t.Fatalf("%+v: %d leaves from %d: %v", s.layout, count, first, err)
	}
}

func TestSegmentRoot(t *testing.T) {
	for _, l := range []erasure.Layout{
		{Required: 1, Total: 2, Size: 64}, {Required: 4, Total: 10, Size: 256 * 65}, {Required: 4, Total: 10, Size: 3 * 262144},
		{Required: 20, Total: 40, Size: 66846720}, {Required: 128, Total: 255, Size: 128 * 64},
	} {
		roots := hashSlots(make([]Hash, l.Total))
		root := SegmentRoot(l, roots)
		if root != referenceSegmentRoot(l, roots) {
			t.Errorf("%+v: segment root is wrong", l)
		}
		if err := VerifyShardRoots(root, l, roots); err != nil {
			t.Errorf("%+v: %v", l, err)
		}
		other := slices.Clone(roots)
		other[l.Total-1][31] ^= 1
		swapped := slices.Clone(roots)
		swapped[0], swapped[1] = other[l.Total-1], roots[0]
		for _, wrong := range [][]Hash{nil, roots[1:], append(roots, roots[0]), other, swapped} {
			if err := VerifyShardRoots(root, l, wrong); !errors.Is(err, ErrRoots) {
				t.Errorf("%+v: %d wrong roots: %v", l, len(wrong), err)
			}
		}
		if err := VerifyShardRoots(root, erasure.Layout{}, roots); !errors.Is(err, erasure.ErrLayout) {
			t.Errorf("no layout: %v", err)
		}
	}
}

func TestProveEveryRange(t *testing.T) {
	for _, l := range []erasure.Layout{
		{Required: 1, Total: 2, Size: 64},
		{Required: 1, Total: 3, Size: LeafSize},
		{Required: 3, Total: 7, Size: 3 * (LeafSize + 64)},
		{Required: 2, Total: 5, Size: 2 * (3*LeafSize - 64)},
		{Required: 4, Total: 10, Size: 4 * (SubtreeSize - 64)},
		{Required: 4, Total: 10, Size: 4 * SubtreeSize},
		{Required: 1, Total: 4, Size: SubtreeSize + 64},
		{Required: 1, Total: 4, Size: 2*SubtreeSize + LeafSize + 64},
	} {
		leaves := LeafCount(l.ShardSize())
		for slot := range l.Total {
			if slot > 0 && leaves > 4 {
				newSegment(t, l, slot).check(t, slot%leaves, 1)
				continue
			}
			s := newSegment(t, l, slot)
			for first := range leaves {
				for count := 1; count <= leaves-first; count++ {
					s.check(t, first, count)
				}
			}
		}
	}
}

func TestProveAcrossManySubtrees(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int64{13*SubtreeSize + 5*LeafSize + 64, 16 * SubtreeSize} {
		s := newSegment(t, erasure.Layout{Required: 1, Total: 255, Size: size}, 77)
		leaves := LeafCount(size)
		for _, r := range [][2]int{{0, leaves}, {1, leaves - 1}, {0, leaves - 1}, {1, leaves - 2}, {16, 16}, {15, 2},
			{15, 18}, {16, 17}, {15, 17}, {leaves - 1, 1}, {leaves - 17, 17}, {31, 34}, {128, 64}} {
			s.check(t, r[0], r[1])
		}
		for range 60 {
			first := random.IntN(leaves)
			s.check(t, first, 1+random.IntN(leaves-first))
		}
	}
}

func TestRangesThatAreNotThere(t *testing.T) {
	s := newSegment(t, erasure.Layout{Required: 2, Total: 4, Size: 2 * (5*LeafSize + 64)}, 1) // 6 leaves
	leaves, p := s.prove(t, 2, 2)
	for _, r := range [][2]int{{0, 0}, {2, 0}, {0, 7}, {5, 2}, {6, 1}, {6, 0}, {-1, 1}, {-1, 2}, {0, -1}, {3, -1},
		{math.MaxInt, 1}, {1, math.MaxInt}, {math.MaxInt, math.MaxInt}, {math.MinInt, 1}, {1, math.MinInt},
		{math.MinInt, math.MinInt}, {math.MinInt, math.MaxInt}, {math.MaxInt - 1, 2}, {1 << 52, 1}, {1 << 32, 1 << 32}} {
		_, _, rangeErr := LeafRange(s.layout, r[0], r[1])
		_, _, windowErr := Window(s.layout, r[0], r[1])
		_, proveErr := Prove(s.layout, 1, s.shardRoots, s.subtrees, r[0], r[1], s.data)
		verifyErr := VerifyProof(s.root, s.layout, 1, r[0], r[1], leaves, p)
		for _, err := range []error{rangeErr, windowErr, proveErr, verifyErr} {
			if !errors.Is(err, ErrRange) {
				t.Errorf("%d leaves from %d: %v", r[1], r[0], err)
			}
		}
	}
	for _, slot := range []int{-1, 4, math.MaxInt, math.MinInt} {
		_, proveErr := Prove(s.layout, slot, s.shardRoots, s.subtrees, 2, 2, s.data)
		verifyErr := VerifyProof(s.root, s.layout, slot, 2, 2, leaves, p)
		if !errors.Is(proveErr, ErrRange) || !errors.Is(verifyErr, ErrRange) {
			t.Errorf("slot %d: %v, %v", slot, proveErr, verifyErr)
		}
	}
	for _, l := range []erasure.Layout{{}, {Required: 2, Total: 1 << 40, Size: 1 << 40}, {Required: 2, Total: 4, Size: math.MaxInt64}} {
		_, proveErr := Prove(l, 1, s.shardRoots, s.subtrees, 2, 2, s.data)
		verifyErr := VerifyProof(s.root, l, 1, 2, 2, leaves, p)
		if !errors.Is(proveErr, erasure.ErrLayout) || !errors.Is(verifyErr, erasure.ErrLayout) {
			t.Errorf("%+v: %v, %v", l, proveErr, verifyErr)
		}
	}
}

// Whatever bit of data or path is changed, the proof must fail.
func TestEveryBitCounts(t *testing.T) {
	l := erasure.Layout{Required: 2, Total: 5, Size: 2 * (2*LeafSize + 64)} // leaves of 4096, 4096 and 64 bytes
	for slot := range l.Total {
		s := newSegment(t, l, slot)
		for _, r := range [][2]int{{0, 1}, {1, 1}, {2, 1}, {1, 2}, {0, 3}} {
			leaves, p := s.prove(t, r[0], r[1])
			verify := func() error { return VerifyProof(s.root, l, slot, r[0], r[1], leaves, p) }
			stride := 1
			if slot > 0 || r[1] > 1 {
				stride = 41
			}
			flipBits(t, leaves, stride, verify)
			for i := range p.Path {
				flipBits(t, p.Path[i][:], 1, verify)
			}
			for i := range p.SlotPath {
				flipBits(t, p.SlotPath[i][:], 1, verify)
			}
			flipBits(t, s.root[:], 1, verify)
			if err := verify(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func flipBits(t *testing.T, in []byte, stride int, verify func() error) {
	t.Helper()
	for bit := 0; bit < 8*len(in); bit += stride {
		in[bit/8] ^= 1 << (bit % 8)
		if err := verify(); !errors.Is(err, ErrProof) {
			t.Fatalf("bit %d of %d bytes changed: %v", bit, len(in), err)
		}
		in[bit/8] ^= 1 << (bit % 8)
	}
}

// A proof holds for one place in one kind of segment only, and in one form.
func TestProofHoldsForOnePlace(t *testing.T) {
	l := erasure.Layout{Required: 4, Total: 10, Size: 4 * (SubtreeSize + 2*LeafSize)}
	s := newSegment(t, l, 3)
	leafCount := LeafCount(l.ShardSize())
	leaves, p := s.prove(t, 4, 2)
	refuse := func(what string, l erasure.Layout, slot, first, count int, leaves []byte, p Proof) {
		t.Helper()
		if err := VerifyProof(s.root, l, slot, first, count, leaves, p); err == nil {
			t.Errorf("proof holds with %s", what)
		}
	}
	for first := range leafCount {
		for count := 1; count <= leafCount-first; count++ {
			if first != 4 || count != 2 {
				refuse(fmt.Sprintf("%d leaves from %d", count, first), l, 3, first, count, leaves, p)
			}
		}
	}
	for slot := range l.Total {
		if slot != 3 {
			refuse(fmt.Sprintf("slot %d", slot), l, slot, 4, 2, leaves, p)
		}
	}
	for required := 1; required < 20; required++ {
		for total := required + 1; total < 20; total++ {
			for _, size := range []int64{l.Size, l.Size - 256, l.Size + 256, l.Size / 4 * int64(required)} {
				other := erasure.Layout{Required: required, Total: total, Size: size}
				if other != l {
					refuse(fmt.Sprintf("%+v", other), other, 3, 4, 2, leaves, p)
				}
			}
		}
	}
	refuse("leaves cut off", l, 3, 4, 2, leaves[:len(leaves)-1], p)
	refuse("leaves added", l, 3, 4, 2, append(bytes.Clone(leaves), 0), p)
	refuse("no leaves", l, 3, 4, 2, nil, p)
	refuse("leaves swapped", l, 3, 4, 2, append(bytes.Clone(leaves[LeafSize:]), leaves[:LeafSize]...), p)
	for name, path := range map[string]func([]Hash) []Hash{
		"nothing":  func([]Hash) []Hash { return nil },
		"cut off":  func(h []Hash) []Hash { return h[:len(h)-1] },
		"behead":   func(h []Hash) []Hash { return h[1:] },
		"one more": func(h []Hash) []Hash { return append(slices.Clone(h), Hash{}) },
		"reversed": func(h []Hash) []Hash { h = slices.Clone(h); slices.Reverse(h); return h },
		"huge":     func(h []Hash) []Hash { return append(slices.Clone(h), make([]Hash, 1<<16)...) },
	} {
		refuse("path "+name, l, 3, 4, 2, leaves, Proof{path(p.Path), p.SlotPath})
		refuse("slot path "+name, l, 3, 4, 2, leaves, Proof{p.Path, path(p.SlotPath)})
	}
	refuse("paths moved", l, 3, 4, 2, leaves, Proof{append(slices.Clone(p.Path), p.SlotPath[0]), p.SlotPath[1:]})
}

// An inner node of the tree must not pass for a leaf, nor a leaf for a node.
func TestNodesAreNotLeaves(t *testing.T) {
	left, right := hashOne(leafPrefix, make([]byte, LeafSize)), Hash{1}
	node := hashNode(&left, &right)
	if ShardRoot(slices.Concat(left[:], right[:])) == node {
		t.Error("two hashes as a leaf have the hash of the node over them")
	}
	if hashSlot(&node) == node || ShardRoot(nil) == ShardRoot([]byte{0}) {
		t.Error("hashes of different things are equal")
	}
}

func TestProverNoticesDamage(t *testing.T) {
	s := newSegment(t, erasure.Layout{Required: 1, Total: 4, Size: 4*SubtreeSize + 64}, 2)
	offset, length, err := Window(s.layout, 20, 30)
	if err != nil || offset != SubtreeSize || length != 3*SubtreeSize {
		t.Fatal(offset, length, err)
	}
	window := s.data[offset : offset+length]
	prove := func(window []byte) error {
		_, err := Prove(s.layout, s.slot, s.shardRoots, s.subtrees, 20, 30, window)
		return err
	}
	for at := 0; at < len(window); at += LeafSize - 1 {
		window[at] ^= 1
		if err := prove(window); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d of the window changed: %v", at, err)
		}
		window[at] ^= 1
	}
	for _, wrong := range [][]byte{nil, window[1:], window[LeafSize:], s.data} {
		if err := prove(wrong); !errors.Is(err, ErrCorrupt) {
			t.Errorf("window of %d bytes: %v", len(wrong), err)
		}
	}
	for i := range s.subtrees {
		s.subtrees[i][0] ^= 1
		leaves, p := s.data[20*LeafSize:50*LeafSize], Proof{}
		err := prove(window)
		if i == 0 || i == 4 { // not within the window: nothing to compare it with
			p, err = Prove(s.layout, s.slot, s.shardRoots, s.subtrees, 20, 30, window)
			if err == nil {
				err = VerifyProof(s.root, s.layout, s.slot, 20, 30, leaves, p)
			}
			if !errors.Is(err, ErrProof) {
				t.Errorf("retained hash %d changed: %v", i, err)
			}
		} else if !errors.Is(err, ErrCorrupt) {
			t.Errorf("retained hash %d changed: %v", i, err)
		}
		s.subtrees[i][0] ^= 1
	}
}

type proofVector struct {
	Required   int    `json:"required"`
	Total      int    `json:"total"`
	Size       int64  `json:"size"`
	Slot       int    `json:"slot"`
	First      int    `json:"first"`
	Count      int    `json:"count"`
	ShardRoots []Hash `json:"shard_roots"`
	Root       Hash   `json:"segment_root"`
	Path       []Hash `json:"path"`
	SlotPath   []Hash `json:"slot_path"`
}

func TestProofVectors(t *testing.T) {
	var vectors []proofVector
	for _, v := range []struct {
		layout             erasure.Layout
		slot, first, count int
	}{
		{erasure.Layout{Required: 1, Total: 2, Size: 64}, 0, 0, 1},
		{erasure.Layout{Required: 2, Total: 3, Size: 2 * (2*LeafSize + 64)}, 2, 2, 1},
		{erasure.Layout{Required: 4, Total: 10, Size: 4 * (SubtreeSize + 64)}, 9, 5, 1},
		{erasure.Layout{Required: 4, Total: 10, Size: 4 * (SubtreeSize + 64)}, 0, 16, 1},
		{erasure.Layout{Required: 4, Total: 10, Size: 4 * 5 * SubtreeSize}, 7, 16, 16},
		{erasure.Layout{Required: 4, Total: 10, Size: 4 * 5 * SubtreeSize}, 5, 13, 40},
	} {
		s := newSegment(t, v.layout, v.slot)
		leaves, p := s.prove(t, v.first, v.count)
		if err := VerifyProof(s.root, v.layout, v.slot, v.first, v.count, leaves, p); err != nil {
			t.Fatal(err)
		}
		vectors = append(vectors, proofVector{v.layout.Required, v.layout.Total, v.layout.Size,
			v.slot, v.first, v.count, s.shardRoots, s.root, p.Path, p.SlotPath})
	}
	golden.Check(t, "merkle_proofs.json", vectors)
}

func BenchmarkProve(b *testing.B) {
	s := newSegment(b, erasure.Layout{Required: 4, Total: 10, Size: erasure.MaxSegment}, 3)
	for _, count := range []int{1, 16} {
		b.Run(fmt.Sprintf("leaves=%d", count), func(b *testing.B) {
			for b.Loop() {
				s.prove(b, 1600, count)
			}
		})
	}
}

func BenchmarkVerifyProof(b *testing.B) {
	s := newSegment(b, erasure.Layout{Required: 4, Total: 10, Size: erasure.MaxSegment}, 3)
	for _, count := range []int{1, 16} {
		b.Run(fmt.Sprintf("leaves=%d", count), func(b *testing.B) {
			leaves, p := s.prove(b, 1600, count)
			b.ReportAllocs()
			for b.Loop() {
				if err := VerifyProof(s.root, s.layout, s.slot, 1600, count, leaves, p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
