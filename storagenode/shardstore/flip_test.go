package shardstore

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/cairnstorage/cairn/proto/merkle"
)

// The flip test changes every byte of a volume in turn, one at a time. Each is
// found by a scrub, and nobody gets a proof for a byte that is not as it was.
// With CAIRN_LONG it steps through all of them; else through those of headers
// and footers and some of the rest.

// flipStore is an open store with one volume: shards of some sizes, one with
// more room than it has used, and a deleted one.
func flipStore(t *testing.T) (*Store, []sample) {
	s := openStore(t, testConfig(t))
	samples := []sample{newSample(0, 64), newSample(3, 4096+64), newSample(6, 65536+128), newSample(9, 3*4096)}
	mustPut(t, s, samples...)
	roomy := newSample(12, 5*4096)
	w, err := s.Create(t.Context(), roomy.meta.Key, 70_000, 20)
	if err == nil {
		_, err = w.Write(roomy.data)
	}
	if err == nil {
		_, err = w.Commit(t.Context(), roomy.meta)
	}
	if err != nil {
		t.Fatal(err)
	}
	mustAdvance(t, s, 1, samples[0].entry(1), samples[1].entry(2), samples[2].entry(3), roomy.entry(4),
		Entry{Seq: 5, Segment: samples[3].meta.Segment})
	return s, append(samples[:3], roomy)
}

// offsetsToFlip steps through a volume: not where nothing is.
func offsetsToFlip(t *testing.T, s *Store, samples []sample, f *os.File) []int64 {
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	dense := [][2]int64{{0, volumeHeaderSize}}
	for _, one := range samples {
		_, e, err := s.lookup(one.meta.Key)
		if err != nil {
			t.Fatal(err)
		}
		footer := e.footerOffset()
		dense = append(dense, [2]int64{e.offset, e.dataOffset()}, [2]int64{footer, footer + footerSize(e.Size(), e.Layout.Total)})
	}
	var offsets []int64
	for at := int64(0); at < st.Size(); at++ {
		next, ok, err := nextData(f, at)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		at = next
		within := func(r [2]int64) bool { return at >= r[0] && at < r[1] }
		if os.Getenv("CAIRN_LONG") != "" || slices.ContainsFunc(dense, within) || at%97 == 0 {
			offsets = append(offsets, at)
		}
	}
	return offsets
}

func TestFlipEveryByte(t *testing.T) {
	s, samples := flipStore(t)
	d, p := placeOf(t, s, samples[0])
	f, err := os.OpenFile(volumePath(d.path, p.volume), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	offsets := offsetsToFlip(t, s, samples, f)
	if len(offsets) < 1500 {
		t.Errorf("only %d bytes to flip", len(offsets))
	}
	for _, at := range offsets {
		was := flipByte(t, f, at, byte(1)<<(at%8))
		checkFlip(t, s, samples, at)
		writeByte(t, f, at, was)
		if t.Failed() {
			return
		}
	}
	for _, one := range samples {
		if err := errors.Join(one.check(s), s.Verify(t.Context(), one.meta.Key)); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d bytes flipped", len(offsets))
}

func flipByte(t *testing.T, f *os.File, at int64, bits byte) (was byte) {
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	writeByte(t, f, at, b[0]^bits)
	return b[0]
}

func writeByte(t *testing.T, f *os.File, at int64, b byte) {
	if _, err := f.WriteAt([]byte{b}, at); err != nil {
		t.Fatal(err)
	}
}

// checkFlip looks at all shards while the byte at an offset is wrong: that whose
// record it is in, and only that, is found damaged. The first page of the volume
// is mended.
func checkFlip(t *testing.T, s *Store, samples []sample, at int64) {
	t.Helper()
	for i, one := range samples {
		d, e, err := s.lookup(one.meta.Key)
		if err != nil {
			t.Fatal(err)
		}
		err = d.verify(context.Background(), e, false)
		if inside := at >= e.offset && at < e.offset+e.length(); inside != errors.Is(err, ErrCorrupt) || !inside && err != nil {
			t.Errorf("byte %d: shard %d at %d+%d: %v", at, i, e.offset, e.length(), err)
		}
		checkProofs(t, s, one, at-e.dataOffset())
		if at < pageSize && i == 0 {
			if err := s.Verify(t.Context(), one.meta.Key); err != nil {
				t.Errorf("byte %d of the volume header: %v", at, err)
			}
			page := make([]byte, pageSize)
			if _, err := d.volumes[e.volume].file.ReadAt(page, 0); err != nil ||
				!bytes.Equal(page, append(encodeVolumeHeader(d.identity, e.volume), make([]byte, pageSize-volumeHeaderSize)...)) {
				t.Errorf("byte %d of the volume header was not mended: %v", at, err)
			}
		}
	}
}

// checkProofs makes sure that there is no proof for a leaf with the wrong byte,
// which may be anywhere, and that any proof is good.
func checkProofs(t *testing.T, s *Store, one sample, at int64) {
	t.Helper()
	h, err := s.Open(one.meta.Key)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	l := one.meta.Layout
	last := merkle.LeafCount(l.ShardSize()) - 1
	for _, leaf := range []int{int(min(max(at/merkle.LeafSize, 0), int64(last))), last} {
		offset, length, err := merkle.LeafRange(l, leaf, 1)
		if err != nil {
			t.Fatal(err)
		}
		wrong := at >= offset && at < offset+length
		proof, bytesOfLeaf, err := h.Prove(leaf, 1)
		switch {
		case err != nil && !errors.Is(err, ErrCorrupt):
			t.Errorf("prove leaf %d: %v", leaf, err)
		case err == nil && wrong:
			t.Errorf("leaf %d with a wrong byte was proven", leaf)
		case err == nil && !bytes.Equal(bytesOfLeaf, one.data[offset:offset+length]):
			t.Errorf("other bytes of leaf %d were proven", leaf)
		case err == nil:
			if err := merkle.VerifyProof(one.meta.Root, l, one.meta.Slot, leaf, 1, bytesOfLeaf, proof); err != nil {
				t.Errorf("leaf %d: %v", leaf, err)
			}
		}
	}
}

// TestFlipAndHeal has Verify itself find a flip in each part of a record, and
// puts what is missing then.
func TestFlipAndHeal(t *testing.T) {
	s, samples := flipStore(t)
	for round := range 60 {
		i := round % len(samples)
		one := samples[i]
		_, e, err := s.lookup(one.meta.Key)
		if err != nil {
			t.Fatal(err)
		}
		footer := e.footerOffset() - e.offset
		parts := []int64{
			int64(round), recordHeaderSize + int64(round*7919)%e.Size(), recordHeaderSize + e.Size() - 1,
			footer + int64(round), footer + footerSize(e.Size(), e.Layout.Total) - 1, e.length() - 1,
		}
		// Only what lies on disk can go wrong there.
		harm(t, s, one, parts[round%len(parts)])
		lost := 0
		for j, other := range samples {
			err := s.Verify(t.Context(), other.meta.Key)
			if (i == j) != errors.Is(err, ErrCorrupt) || i != j && err != nil {
				t.Errorf("round %d: shard %d was harmed, verify %d: %v", round, i, j, err)
			}
			lost += btoi(err != nil)
		}
		wantUsage(t, s, len(samples)-lost, 0, lost)
		wantMissing(t, s, 1, one.missing(uint64(i+1)))
		mustPut(t, s, one)
		wantMissing(t, s, 1)
		wantSeq(t, s, one, uint64(i+1))
	}
	wantUsage(t, s, len(samples), 0, 0)
}
