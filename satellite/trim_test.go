package satellite

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/meta"
)

// TestTrimming has a satellite drop what it deleted long ago, and tell nodes.
func TestTrimming(t *testing.T) {
	var ahead atomic.Int64
	c := testConfig(t.TempDir())
	c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	c.Tombstones = 10 * 24 * time.Hour
	s := start(t, c)
	node := s.formGroups(newKeys(t, 10))[0]
	must(t, s.ready(t.Context()))
	s.fill(1, 5)
	p, err := s.meta.ProjectByName(t.Context(), "filling-1")
	must(t, err)
	_, _, err = s.meta.DeleteBucket(t.Context(), p.Number, "filling", true)
	must(t, err)
	page := func(after uint64) *pb.JournalResponse {
		t.Helper()
		j, err := node.Journal(t.Context(), &pb.JournalRequest{Group: 1, After: after, Limit: 100})
		must(t, err)
		return j
	}
	must(t, s.trim(t.Context()))
	if j := page(0); len(j.Entries) != 10 || j.Sparse || j.Base != 0 || j.Through != 10 {
		t.Errorf("young: %+v", j)
	}
	ahead.Add(int64(c.Tombstones + time.Minute))
	must(t, s.trim(t.Context()))
	if j := page(3); len(j.Entries) != 0 || !j.Sparse || j.Base != 10 || j.Through != 10 {
		t.Errorf("old: %+v", j)
	}
	if j := page(10); len(j.Entries) != 0 || j.Sparse || j.Base != 10 || j.Through != 10 {
		t.Errorf("at the end: %+v", j)
	}
}

// TestClaimsAfterLoss: nobody knows what the numbers in claims meant that were
// made before a loss was accepted.
func TestClaimsAfterLoss(t *testing.T) {
	s := start(t, testConfig(t.TempDir()))
	keys := newKeys(t, 10)
	nodes := s.formGroups(keys)
	s.fill(1, 100)
	node, key := nodes[4], keys[4]
	hand := func(group uint32, seq uint64) *claim {
		t.Helper()
		c := s.claimFor(key, group, seq)
		_, err := node.Claim(t.Context(), &pb.ClaimRequest{Claims: []*pb.Signed{signClaim(t, key, c)}})
		must(t, err)
		return s.claims.get(meta.ClaimKey{Group: group, Slot: c.Slot, Node: key.ID()})
	}
	if hand(1, 100) == nil || hand(2, 0) == nil {
		t.Fatal("good claims are not taken")
	}
	must(t, s.storeClaims(t.Context()))
	head, err := order.SignHead(s.key, &order.Head{Satellite: s.ID(), Group: 1, Seq: 120, Issued: time.Now()})
	must(t, err)
	_, err = node.Contest(t.Context(), &pb.ContestRequest{Head: head})
	must(t, err)
	_, err = s.admin.AcceptLoss(t.Context(), &pb.AcceptLossRequest{})
	must(t, err)
	if n := s.claims.count(); n != 1 {
		t.Errorf("%d claims are left, want that on group 2", n)
	}
	stored, err := s.meta.Claims(t.Context())
	must(t, err)
	if len(stored) != 1 || stored[0].Group != 2 {
		t.Errorf("stored claims %+v", stored)
	}
	if c := hand(1, 120); c != nil {
		t.Errorf("a claim by the numbers of before is taken: %+v", c.Claim)
	}
	if c := hand(1, 121); c == nil || c.Seq != 121 {
		t.Errorf("a claim of now is %+v", c)
	}
}
