package meta

import (
	"errors"
	"reflect"
	"testing"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
)

func TestReports(t *testing.T) {
	r := memRig(t)
	r.commit(3, "a")
	kept := r.commit(1, "b")
	live := r.live(1)
	all := func(want ...Report) {
		t.Helper()
		got, err := r.Reports(r.ctx)
		r.must(err)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("reports %v, want %v", got, want)
		}
	}
	all()
	bySeq := map[uint64]order.SegmentID{}
	for id, e := range live {
		bySeq[e.Seq] = id
	}
	report := func(seq uint64, node byte) Report {
		return Report{Group: 1, Seq: seq, Node: ident.ID{node}, Segment: bySeq[seq], At: r.clock}
	}
	a, b, c := report(2, 1), report(2, 2), report(4, 1)
	for _, n := range []Report{c, b, a, b} {
		r.must(r.PutReport(r.ctx, n))
	}
	all(a, b, c)
	for name, spoil := range map[string]func(*Report){
		"another number":  func(n *Report) { n.Seq = 3 },
		"another group":   func(n *Report) { n.Group = 2 },
		"unknown group":   func(n *Report) { n.Group = 99 },
		"unknown segment": func(n *Report) { n.Segment = order.SegmentID{9} },
		"no segment":      func(n *Report) { n.Segment = order.SegmentID{} },
	} {
		bad := a
		spoil(&bad)
		if err := r.PutReport(r.ctx, bad); !errors.Is(err, ErrSegmentUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.wants(r.PutReport(r.ctx, Report{Group: 1, Seq: 2, Segment: a.Segment}), ErrInvalid)

	gone, err := r.Overtaken(r.ctx, []Report{a, c})
	r.must(err)
	if len(gone) != 0 {
		t.Errorf("overtaken: %v", gone)
	}
	r.must(ignore(r.DeleteObjects(r.ctx, DeleteRequest{Project: r.project, Bucket: "bucket", Keys: [][]byte{kept.Key}})))
	if gone, err = r.Overtaken(r.ctx, []Report{a, b, c}); err != nil || !reflect.DeepEqual(gone, []Report{c}) {
		t.Errorf("overtaken: %v, %v", gone, err)
	}
	r.wants(r.PutReport(r.ctx, c), ErrSegmentUnknown)
	r.must(r.DeleteReports(r.ctx, append(gone, report(1, 9))))
	all(a, b)
}
