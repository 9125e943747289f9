package merkle

import (
	"bytes"
	"slices"
	"testing"

	"github.com/cairnstorage/cairn/proto/erasure"
)

// FuzzVerifyProof hands the verifier what a hostile node or satellite might
// send. Only the truth, in its one form, may pass.
func FuzzVerifyProof(f *testing.F) {
	l := erasure.Layout{Required: 2, Total: 5, Size: 2 * (SubtreeSize + LeafSize + 64)} // the last leaf has 64 bytes
	s := newSegment(f, l, 2)
	leaves, p := s.prove(f, 17, 1)
	f.Add(l.Required, l.Total, l.Size, s.slot, 17, 1, leaves, JoinHashes(p.Path), JoinHashes(p.SlotPath))
	f.Add(-1, 1<<62, int64(-1), -1, -1, 1<<62, []byte{}, []byte{1}, []byte{})
	f.Fuzz(func(t *testing.T, required, total int, size int64, slot, first, count int, leaves, path, slotPath []byte) {
		inShard, err := SplitHashes(path)
		if err != nil {
			return
		}
		overSlots, err := SplitHashes(slotPath)
		if err != nil {
			return
		}
		claimed := erasure.Layout{Required: required, Total: total, Size: size}
		if VerifyProof(s.root, claimed, slot, first, count, leaves, Proof{inShard, overSlots}) != nil {
			return
		}
		if claimed != l || slot != s.slot {
			t.Fatalf("verified for slot %d of %+v", slot, claimed)
		}
		wantLeaves, want := s.prove(t, first, count)
		if !bytes.Equal(leaves, wantLeaves) || !slices.Equal(inShard, want.Path) || !slices.Equal(overSlots, want.SlotPath) {
			t.Fatalf("verified what is not so: %d leaves from %d", count, first)
		}
	})
}

// FuzzHasher checks that the root does not depend on how the bytes arrive.
func FuzzHasher(f *testing.F) {
	f.Add(4096, []byte{0, 16, 255})
	f.Add(65536+64, []byte{1, 2, 3})
	data := newSegment(f, erasure.Layout{Required: 1, Total: 2, Size: 3 * SubtreeSize}, 0).data
	f.Fuzz(func(t *testing.T, size int, cuts []byte) {
		if size < 0 || size > len(data) {
			return
		}
		h := NewHasher(0)
		rest := data[:size]
		for _, cut := range cuts {
			n := min(len(rest), int(cut)*int(cut))
			h.Write(rest[:n])
			rest = rest[n:]
		}
		h.Write(rest)
		if h.Root() != referenceRoot(cutLeaves(data[:size])) {
			t.Fatalf("root of %d bytes in cuts %v is wrong", size, cuts)
		}
	})
}
