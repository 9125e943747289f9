package meta

import (
	"reflect"
	"testing"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/audit"
)

func TestStandings(t *testing.T) {
	r := memRig(t)
	all := func(want ...Standing) {
		t.Helper()
		got, err := r.Standings(r.ctx)
		r.must(err)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("standings %+v, want %+v", got, want)
		}
	}
	all()
	a := Standing{Node: ident.ID{1}, Standing: audit.Standing{State: audit.Vetting, Since: r.clock}}
	b := Standing{Node: ident.ID{2}, Exit: Exit{Asked: r.clock, Slots: 3, Departure: &pb.Signed{Body: []byte{1}, Signature: []byte{2}}}}
	r.must(r.PutStandings(r.ctx, []Standing{b, a}))
	all(a, b)
	a.Score.Proved, a.Score.LLR = 7, -0.1
	r.must(r.PutStandings(r.ctx, []Standing{a}))
	all(a, b)
	r.wants(r.PutStandings(r.ctx, []Standing{{}}), ErrInvalid)
	r.must(r.PutNodes(r.ctx, []Node{{ID: a.Node}, {ID: b.Node}}))
	r.must(r.DeleteNodes(r.ctx, []ident.ID{a.Node, {9}}))
	all(b)
}
