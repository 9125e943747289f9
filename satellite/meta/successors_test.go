package meta

import (
	"reflect"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
)

func TestSuccessors(t *testing.T) {
	r := memRig(t)
	all := func(want ...Successor) {
		t.Helper()
		got, err := r.Successors(r.ctx)
		r.must(err)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("successors %v, want %v", got, want)
		}
	}
	all()
	when := time.Unix(1_800_000_000, 0).UTC()
	a, b := Successor{1, 3, ident.ID{1}, when}, Successor{2, 254, ident.ID{2}, when}
	r.must(r.PutSuccessor(r.ctx, b))
	r.must(r.PutSuccessor(r.ctx, a))
	all(a, b)
	a.Node = ident.ID{3}
	r.must(r.PutSuccessor(r.ctx, a))
	all(a, b)
	r.must(r.DeleteSuccessor(r.ctx, 1, 3))
	r.must(r.DeleteSuccessor(r.ctx, 1, 4))
	all(b)
	for _, bad := range []Successor{{0, 1, ident.ID{1}, when}, {1, -1, ident.ID{1}, when}, {1, 256, ident.ID{1}, when}, {1, 1, ident.ID{}, when}} {
		if err := r.PutSuccessor(r.ctx, bad); !isInvalid(err) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
