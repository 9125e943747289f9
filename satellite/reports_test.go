package satellite

import (
	"fmt"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// segmentAt is the segment of an entry of group 1.
func (w *town) segmentAt(seq uint64) order.SegmentID {
	w.t.Helper()
	page, err := w.meta.Entries(w.t.Context(), 1, seq-1, 1)
	must(w.t, err)
	return page.Entries[0].Segment
}

// report has the holder of a slot of group 1 report an entry.
func (w *town) report(slot int, seq uint64) error {
	w.t.Helper()
	n := meta.Report{Group: 1, Seq: seq, Node: w.group(1).Nodes[slot], Segment: w.segmentAt(seq), At: w.time}
	return w.reports.take(w.t.Context(), n)
}

// TestReports counts segments that were encoded wrong, over restarts, and has
// nodes heal at once only what they have not reported.
func TestReports(t *testing.T) {
	w := newTown(t, 12)
	w.fill(20)
	lacking := func(slots int, seq uint64) {
		for slot, node := range w.holders(1) {
			has, some := w.have[townSlot{1, node}]
			if !some {
				has = seqset.Set{{First: 1, Last: 20}}
			}
			one := seqset.Set{{First: seq, Last: seq}}
			if has = has.Subtract(one); slot >= slots {
				has = has.Union(one)
			}
			w.have[townSlot{1, node}] = has
		}
		w.claim()
	}
	bad := func(when string, want uint64) {
		t.Helper()
		must(t, w.reports.review(t.Context()))
		if got := w.reports.bad(); got != want {
			t.Errorf("%s: %d segments are encoded wrong, want %d", when, got, want)
		}
		w.stop()
		w.restart(w.key)
		w.pass(time.Minute)
		if got := w.reports.bad(); got != want {
			t.Errorf("%s and restarted: %d segments are encoded wrong, want %d", when, got, want)
		}
	}
	lacking(4, 7)
	lacking(4, 8)
	w.repair()
	if got, want := w.urgent(1, w.holders(1)[0]), "[{6 [{7 8}]}]"; fmt.Sprint(got) != want {
		t.Errorf("urgent is %v, want %s", got, want)
	}
	bad("nothing reported", 0)
	must(t, w.report(0, 7))
	must(t, w.report(0, 7))
	bad("by one of four", 0)
	w.repair()
	for slot, want := range []string{"[{6 [{8 8}]}]", "[{6 [{7 8}]}]"} {
		if got := w.urgent(1, w.holders(1)[slot]); fmt.Sprint(got) != want {
			t.Errorf("urgent for slot %d is %v, want %s", slot, got, want)
		}
	}
	must(t, w.report(1, 7))
	bad("by two of four", 1)
	lacking(1, 7)
	bad("one of them healed", 1) // who is left is the only one that lacks it
	lacking(0, 7)
	bad("all healed", 0)
	if all, err := w.meta.Reports(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("reports %v are left, %v", all, err)
	}
	lacking(2, 7)
	must(t, w.report(0, 7))
	must(t, w.report(1, 7))
	bad("again", 1)
	must(t, w.report(0, 8))
	must(t, w.report(1, 8))
	bad("two", 2)
	w.registry.judged(w.group(1).Nodes[0], time.Time{}, repeat(9, audit.Wrong)...)
	w.repair()
	bad("one who said so lost its slot", 0)
	p, err := w.meta.ProjectByName(t.Context(), "filling-1")
	must(t, err)
	_, _, err = w.meta.DeleteBucket(t.Context(), p.Number, "filling", true)
	must(t, err)
	must(t, w.reports.review(t.Context()))
	if all, err := w.meta.Reports(t.Context()); err != nil || len(all) != 0 || len(w.reports.all) != 0 || len(w.reports.ofNode) != 0 {
		t.Errorf("reports %v are left of segments that were deleted, %v", all, err)
	}
}

// TestReportsAreBounded takes no more of one node, or in all, than so many.
func TestReportsAreBounded(t *testing.T) {
	w := newTown(t, 10)
	w.fill(3)
	w.have[townSlot{1, w.holders(1)[0]}] = nil
	w.claim()
	must(t, w.report(0, 1))
	for i := range uint64(maxNodeReports - 1) {
		w.reports.add(meta.Report{Group: 1, Seq: 100 + i, Node: w.group(1).Nodes[0]})
	}
	wantError(t, "one too many of one node", w.report(0, 2), satclient.ErrBusy)
	must(t, w.report(0, 1))
	must(t, w.report(1, 1))
	for i := range uint64(maxReports) {
		w.reports.add(meta.Report{Group: 2, Seq: i, Node: ident.ID{byte(i), byte(i >> 8), byte(i >> 16), 1}})
	}
	wantError(t, "one too many", w.report(1, 2), satclient.ErrBusy)
	must(t, w.report(1, 1))
}

// TestReportSegment reports as nodes do, and as they must not.
func TestReportSegment(t *testing.T) {
	s := start(t, testConfig(t.TempDir()))
	keys := newKeys(t, 10)
	nodes := s.formGroups(keys)
	s.fill(1, 5)
	page, err := s.meta.Entries(t.Context(), 1, 0, 5)
	must(t, err)
	claim := s.claimFor(keys[2], 1, 5)
	claim.Missing = seqset.Set{{First: 3, Last: 3}}
	_, err = nodes[2].Claim(t.Context(), &pb.ClaimRequest{Claims: []*pb.Signed{signClaim(t, keys[2], claim)}})
	must(t, err)
	good := func(seq uint64) *pb.ReportSegmentRequest {
		return &pb.ReportSegmentRequest{Group: 1, Seq: seq, Segment: page.Entries[seq-1].Segment[:]}
	}
	for name, c := range map[string]struct {
		m    *pb.ReportSegmentRequest
		want error
	}{
		"what it holds":     {good(2), satclient.ErrBadRequest},
		"no segment":        {&pb.ReportSegmentRequest{Group: 1, Seq: 3}, satclient.ErrBadRequest},
		"another segment":   {&pb.ReportSegmentRequest{Group: 1, Seq: 3, Segment: good(4).Segment}, satclient.ErrBadRequest},
		"an unknown one":    {&pb.ReportSegmentRequest{Group: 1, Seq: 3, Segment: make([]byte, 15)}, satclient.ErrBadRequest},
		"an unknown number": {&pb.ReportSegmentRequest{Group: 1, Seq: 9, Segment: good(3).Segment}, satclient.ErrBadRequest},
		"an unknown group":  {&pb.ReportSegmentRequest{Group: 9, Seq: 3, Segment: good(3).Segment}, satclient.ErrGroupNotFound},
	} {
		_, err := nodes[2].ReportSegment(t.Context(), c.m)
		wantError(t, name, err, c.want)
	}
	_, err = s.newNode(newKey(t)).ReportSegment(t.Context(), good(3))
	wantError(t, "a stranger", err, satclient.ErrDenied)
	outsider := s.newNode(newKey(t))
	_, err = outsider.CheckIn(t.Context(), checkInOf(0))
	must(t, err)
	_, err = outsider.ReportSegment(t.Context(), good(3))
	wantError(t, "a node without a slot", err, satclient.ErrBadRequest)
	if n := s.reports.bad(); n != 0 {
		t.Errorf("%d segments are encoded wrong", n)
	}
	_, err = nodes[2].ReportSegment(t.Context(), good(3))
	must(t, err)
	if got := s.reports.by(1, keys[2].ID()); fmt.Sprint(got) != "[{3 3}]" {
		t.Errorf("reported %v", got)
	}
}
