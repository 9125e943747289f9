package audit

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
)

// shard is what the holder of a slot has of a segment.
type shard struct {
	layout   erasure.Layout
	slot     int
	data     []byte
	roots    []merkle.Hash
	root     merkle.Hash
	subtrees []merkle.Hash
}

func newShard(l erasure.Layout, slot int, seed uint64) *shard {
	random := rand.NewChaCha8([32]byte{byte(seed), byte(slot)})
	s := &shard{layout: l, slot: slot, data: make([]byte, l.ShardSize()), roots: make([]merkle.Hash, l.Total)}
	random.Read(s.data)
	for i := range s.roots {
		random.Read(s.roots[i][:])
	}
	h := merkle.NewHasher(l.ShardSize())
	h.Write(s.data)
	s.roots[slot], s.subtrees = h.Root(), slices.Clone(h.Subtrees())
	s.root = merkle.SegmentRoot(l, s.roots)
	return s
}

func (s *shard) challenge(leaf int) order.Challenge {
	return order.Challenge{Group: 1, Slot: s.slot, Seq: 1, Segment: order.SegmentID{1}, Root: s.root, Layout: s.layout, Leaf: leaf}
}

func (s *shard) prove(t *testing.T, leaf int) order.Answer {
	t.Helper()
	offset, length, err := merkle.Window(s.layout, leaf, 1)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := merkle.Prove(s.layout, s.slot, s.roots, s.subtrees, leaf, 1, s.data[offset:offset+length])
	if err != nil {
		t.Fatal(err)
	}
	if offset, length, err = merkle.LeafRange(s.layout, leaf, 1); err != nil {
		t.Fatal(err)
	}
	return order.Answer{Status: order.Proved, Leaf: bytes.Clone(s.data[offset : offset+length]), Proof: proof}
}

func TestJudgeProofs(t *testing.T) {
	for _, l := range []erasure.Layout{
		{Required: 1, Total: 2, Size: 64}, {Required: 4, Total: 10, Size: 4 * 4160}, {Required: 4, Total: 10, Size: 3*262144 + 256},
		{Required: 20, Total: 40, Size: 20 * 65536},
	} {
		for _, slot := range []int{0, l.Total - 1} {
			s := newShard(l, slot, 1)
			leaves := merkle.LeafCount(l.ShardSize())
			for _, leaf := range []int{0, leaves / 2, leaves - 1} {
				c, a := s.challenge(leaf), s.prove(t, leaf)
				if v := Judge(c, a); v != Proved {
					t.Errorf("%+v, slot %d, leaf %d: %v", l, slot, leaf, v)
				}
				wrongAnswers(t, c, a)
			}
		}
	}
}

// wrongAnswers changes a right answer in all parts that it has.
func wrongAnswers(t *testing.T, c order.Challenge, right order.Answer) {
	t.Helper()
	wrong := func(what string, change func(a *order.Answer)) {
		t.Helper()
		a := order.Answer{Status: right.Status, Leaf: bytes.Clone(right.Leaf),
			Proof: merkle.Proof{Path: slices.Clone(right.Proof.Path), SlotPath: slices.Clone(right.Proof.SlotPath)}}
		change(&a)
		if v := Judge(c, a); v != Wrong {
			t.Errorf("%s of leaf %d of %+v: %v", what, c.Leaf, c.Layout, v)
		}
	}
	wrong("no leaf", func(a *order.Answer) { a.Leaf = nil })
	wrong("leaf cut", func(a *order.Answer) { a.Leaf = a.Leaf[1:] })
	wrong("leaf too long", func(a *order.Answer) { a.Leaf = append(a.Leaf, 0) })
	for _, i := range []int{0, len(right.Leaf) / 2, len(right.Leaf) - 1} {
		wrong("leaf changed", func(a *order.Answer) { a.Leaf[i] ^= 1 })
	}
	wrong("path longer", func(a *order.Answer) { a.Proof.Path = append(a.Proof.Path, merkle.Hash{}) })
	wrong("slot path shorter", func(a *order.Answer) { a.Proof.SlotPath = a.Proof.SlotPath[1:] })
	for i := range right.Proof.Path {
		wrong("path changed", func(a *order.Answer) { a.Proof.Path[i][31] ^= 1 })
	}
	for i := range right.Proof.SlotPath {
		wrong("slot path changed", func(a *order.Answer) { a.Proof.SlotPath[i][0] ^= 1 })
	}
}

// TestJudgeOthersProofs answers with what is right for something else.
func TestJudgeOthersProofs(t *testing.T) {
	l := erasure.Layout{Required: 4, Total: 10, Size: 3 * 262144}
	s := newShard(l, 3, 1)
	right := s.prove(t, 7)
	for name, a := range map[string]order.Answer{
		"another leaf":    s.prove(t, 6),
		"another segment": newShard(l, 3, 2).prove(t, 7),
		"another slot":    newShard(l, 4, 1).prove(t, 7),
	} {
		if v := Judge(s.challenge(7), a); v != Wrong {
			t.Errorf("the proof of %s: %v", name, v)
		}
	}
	for name, change := range map[string]func(*order.Challenge){
		"root": func(c *order.Challenge) { c.Root[0] ^= 1 },
		"slot": func(c *order.Challenge) { c.Slot++ },
		"size": func(c *order.Challenge) { c.Layout.Size -= 256 },
		"leaf": func(c *order.Challenge) { c.Leaf++ },
	} {
		c := s.challenge(7)
		change(&c)
		if v := Judge(c, right); v != Wrong {
			t.Errorf("another %s: %v", name, v)
		}
	}
}

func TestJudgeWithoutProof(t *testing.T) {
	c := newShard(erasure.Layout{Required: 4, Total: 10, Size: 4 * 64}, 3, 1).challenge(0)
	bad := c
	bad.Leaf = 1
	for _, test := range []struct {
		c    order.Challenge
		s    order.Status
		want Verdict
	}{
		{c, order.Missing, Missing}, {c, order.Corrupt, Missing}, {c, order.Unavailable, Unavailable}, {c, 0, Unavailable}, {c, 9, Unavailable},
		{bad, order.Proved, Unavailable}, {bad, order.Missing, Unavailable},
	} {
		if v := Judge(test.c, order.Answer{Status: test.s}); v != test.want {
			t.Errorf("%v to leaf %d is %v, want %v", test.s, test.c.Leaf, v, test.want)
		}
	}
}
