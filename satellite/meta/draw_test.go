package meta

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
)

func always(uint64) bool { return true }

// TestPick draws from a journal of which only a few entries count, some of them
// where it is trimmed.
func TestPick(t *testing.T) {
	r := memRig(t)
	first := func(want uint64) {
		t.Helper()
		if got, err := r.First(r.ctx, 1); err != nil || got != want {
			t.Errorf("the first entry is %d, %v; want %d", got, err, want)
		}
	}
	first(1)
	r.commit(40, "gone")
	r.commit(2, "kept") // 41, 42
	r.delete("gone")    // 43 to 82
	r.trim(false)
	first(1)
	r.hours(33, false)
	first(41)
	r.commit(3, "later") // 83 to 85
	r.commit(1, "brief") // 86
	r.delete("brief")
	counts := []uint64{41, 42, 83, 84, 85}

	for seq := uint64(0); seq <= 90; seq++ {
		want := slices.Contains(counts, seq)
		e, ok, err := r.Pick(r.ctx, 1, func() uint64 { return seq }, func(uint64) bool { return false })
		r.must(err)
		if ok != want || ok && e.Seq != seq {
			t.Errorf("number %d: %+v, %v", seq, e, ok)
		}
		e, ok, err = r.Pick(r.ctx, 1, func() uint64 { return seq }, always)
		r.must(err)
		next, _ := slices.BinarySearch(counts, seq)
		if ok != (next < len(counts)) || ok && e.Seq != counts[next] {
			t.Errorf("after %d comes %+v, %v", seq, e, ok)
		}
		if !ok {
			continue
		}
		if got, err := r.Counts(r.ctx, 1, e.Seq, e.Segment); err != nil || !got {
			t.Errorf("entry %d does not count, %v", e.Seq, err)
		}
		if got, err := r.Counts(r.ctx, 1, e.Seq, order.SegmentID{1}); err != nil || got {
			t.Errorf("entry %d counts as another segment, %v", e.Seq, err)
		}
	}
	// The numbers before one that counts are looked at first.
	n := uint64(0)
	e, ok, err := r.Pick(r.ctx, 1, func() uint64 { n++; return 90 - n }, always)
	r.must(err)
	if !ok || e.Seq != 85 || n != 5 {
		t.Errorf("%d tries led to %+v, %v", n, e, ok)
	}
	n = 0
	if _, ok, err = r.Pick(r.ctx, 1, func() uint64 { n++; return 60 }, func(seq uint64) bool { return seq > 85 }); ok || err != nil || n != pickTries {
		t.Errorf("%d tries: %v, %v", n, ok, err)
	}
	if _, ok, err = r.Pick(r.ctx, 9, func() uint64 { return 1 }, always); ok || err != nil {
		t.Errorf("of a group that is not there: %v, %v", ok, err)
	}
	r.wants(ignore(r.First(r.ctx, 9)), ErrGroupNotFound)
}

func TestEvidence(t *testing.T) {
	r := memRig(t)
	one, other := ident.ID{1}, ident.ID{2}
	check := func(node ident.ID, want ...string) {
		t.Helper()
		files, err := r.Evidence(r.ctx, node)
		r.must(err)
		var got []string
		for _, f := range files {
			got = append(got, string(f))
		}
		if !slices.Equal(got, want) {
			t.Errorf("evidence %q, want %q", got, want)
		}
	}
	check(one)
	r.must(r.AddEvidence(r.ctx, one, []byte("a")))
	r.must(r.AddEvidence(r.ctx, one, []byte("b"), []byte("c")))
	r.must(r.AddEvidence(r.ctx, other, []byte("x")))
	r.must(r.AddEvidence(r.ctx, one))
	check(one, "c", "b", "a")
	var many [][]byte
	var newest []string
	for i := range 3 * MaxEvidence {
		many = append(many, fmt.Append(nil, i))
		newest = append([]string{fmt.Sprint(i)}, newest...)
	}
	for _, file := range many {
		r.must(r.AddEvidence(r.ctx, one, file))
	}
	check(one, newest[:MaxEvidence]...)
	r.must(r.AddEvidence(r.ctx, one, many...))
	check(one, newest[:MaxEvidence]...)
	r.must(r.AddEvidence(r.ctx, one, []byte("last")))
	check(one, append([]string{"last"}, newest[:MaxEvidence-1]...)...)
	check(other, "x")
	r.wants(r.AddEvidence(r.ctx, ident.ID{}, []byte("a")), ErrInvalid)
	r.must(r.DeleteNodes(r.ctx, []ident.ID{one}))
	check(one)
	check(other, "x")
}
