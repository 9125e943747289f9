package meta

import (
	"errors"
	"fmt"
	"testing"
)

// objects makes n objects that lie in one segment.
func (r *rig) objects(n int) CommitManyRequest {
	segments, _ := r.segments(1, 1)
	q := CommitManyRequest{Project: r.project, Segments: segments}
	for i := range n {
		q.Objects = append(q.Objects, NewObject{
			Bucket: "bucket", Key: key("many", fmt.Sprint(i)), Size: 1, SealedMetadata: []byte("sealed"),
			Extents: []Extent{{Segment: segments[0].ID, Offset: uint64(i % 10), Length: 1}},
		})
	}
	return q
}

// TestCommitOfAsManyAsThereMayBe replaces as many objects by as many in one
// transaction, and deletes them.
func TestCommitOfAsManyAsThereMayBe(t *testing.T) {
	r := memRig(t)
	for range 2 {
		outcomes, err := r.CommitMany(r.ctx, r.objects(MaxCommit))
		r.must(err)
		for _, o := range outcomes {
			r.must(o.Err)
		}
		if got := r.journal(1).Segments; got != 1 {
			t.Errorf("%d segments count, want 1", got)
		}
	}
	r.check()
	var keys [][]byte
	for i := range MaxCommit {
		keys = append(keys, key("many", fmt.Sprint(i)))
	}
	_, err := r.DeleteObjects(r.ctx, DeleteRequest{Project: r.project, Bucket: "bucket", Keys: keys})
	r.must(err)
	if got := r.journal(1).Segments; got != 0 {
		t.Errorf("%d segments count, want none", got)
	}
	r.check()
}

// TestReplacingTooMuch: what is too much for one transaction is refused object
// by object, and works on its own.
func TestReplacingTooMuch(t *testing.T) {
	r := memRig(t)
	for i := range 3 {
		r.upload(batchWork/2, key("many", fmt.Sprint(i)))
	}
	q := r.objects(4)
	outcomes, err := r.CommitMany(r.ctx, q)
	r.must(err)
	for i, want := range []error{nil, ErrTooMuch, ErrTooMuch, nil} {
		if !errors.Is(outcomes[i].Err, want) {
			t.Errorf("object %d: %v, want %v", i, outcomes[i].Err, want)
		}
	}
	r.check()
	for i := 1; i <= 2; i++ {
		alone := CommitManyRequest{Project: r.project, Objects: q.Objects[i : i+1]}
		outcomes, err := r.CommitMany(r.ctx, alone)
		r.must(err)
		r.must(outcomes[0].Err)
	}
	r.check()
	if got := r.journal(1).Segments; got != 1 {
		t.Errorf("%d segments count, want 1", got)
	}
}

// TestManyInOneCommit: the last of several objects of one key stays.
func TestManyInOneCommit(t *testing.T) {
	r := memRig(t)
	q := r.objects(3)
	for i := range q.Objects {
		q.Objects[i].Key, q.Objects[i].SealedMetadata = key("one"), []byte{byte(i)}
	}
	outcomes, err := r.CommitMany(r.ctx, q)
	r.must(err)
	got, err := r.Get(r.ctx, GetRequest{Project: r.project, Bucket: "bucket", Key: key("one")})
	r.must(err)
	if got.SealedMetadata[0] != 2 || got.Version != outcomes[2].Version || outcomes[1].Version <= outcomes[0].Version {
		t.Errorf("got %+v of %+v", got, outcomes)
	}
	r.check()
}
