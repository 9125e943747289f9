package meta

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
)

func TestClaims(t *testing.T) {
	r := memRig(t)
	all := func() []Claim {
		t.Helper()
		claims, err := r.Claims(r.ctx)
		r.must(err)
		return claims
	}
	if got := all(); len(got) != 0 {
		t.Fatalf("claims in a new store: %v", got)
	}
	signed := func(size int) *pb.Signed {
		return &pb.Signed{Body: bytes.Repeat([]byte{7}, size), Signature: bytes.Repeat([]byte{8}, 64)}
	}
	var want []Claim
	for _, k := range []ClaimKey{{1, 0, ident.ID{1}}, {1, 0, ident.ID{2}}, {1, 254, ident.ID{1}}, {2, 3, ident.ID{1}}, {1 << 31, 3, ident.ID{1}}} {
		want = append(want, Claim{ClaimKey: k, Signed: signed(k.Slot + 1)})
	}
	shuffled := slices.Clone(want)
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(want), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	r.must(r.PutClaims(r.ctx, shuffled))
	if got := all(); !reflect.DeepEqual(got, want) {
		t.Fatalf("claims %v, want %v", got, want)
	}
	want[1].Signed = signed(10)
	want[1].Lost, want[1].LostAt = seqset.Set{{First: 2, Last: 5}}, time.Unix(1_800_000_000, 0).UTC()
	r.must(r.PutClaims(r.ctx, want[1:2]))
	r.must(r.DeleteClaims(r.ctx, []ClaimKey{want[0].ClaimKey, {9, 9, ident.ID{9}}}))
	if got := all(); !reflect.DeepEqual(got, want[1:]) {
		t.Fatalf("claims %v, want %v", got, want[1:])
	}
}

// TestManyClaims stores more than fit in one transaction.
func TestManyClaims(t *testing.T) {
	r := memRig(t)
	var claims []Claim
	for i := range 700 {
		claims = append(claims, Claim{
			ClaimKey: ClaimKey{uint32(1 + i%7), i % 10, ident.ID{byte(i), byte(i >> 8), 1}},
			Signed:   &pb.Signed{Body: make([]byte, order.MaxBody), Signature: make([]byte, 64)},
		})
	}
	r.must(r.PutClaims(r.ctx, claims))
	got, err := r.Claims(r.ctx)
	r.must(err)
	byKey := func(a, b Claim) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Slot, b.Slot), bytes.Compare(a.Node[:], b.Node[:]))
	}
	slices.SortFunc(claims, byKey)
	if !reflect.DeepEqual(got, claims) {
		t.Errorf("%d claims are stored, want %d", len(got), len(claims))
	}
	var keys []ClaimKey
	for i := range claims {
		keys = append(keys, claims[i].ClaimKey)
	}
	r.must(r.DeleteClaims(r.ctx, keys))
	if n := r.count(kindClaim); n != 0 {
		t.Errorf("%d claims are left", n)
	}
}

func TestBadClaims(t *testing.T) {
	r := memRig(t)
	good := Claim{ClaimKey: ClaimKey{1, 2, ident.ID{3}}, Signed: &pb.Signed{Body: []byte{1}}}
	for name, spoil := range map[string]func(*Claim){
		"no group":      func(c *Claim) { c.Group = 0 },
		"no node":       func(c *Claim) { c.Node = ident.ID{} },
		"negative slot": func(c *Claim) { c.Slot = -1 },
		"slot too high": func(c *Claim) { c.Slot = 256 },
		"no record":     func(c *Claim) { c.Signed = nil },
		"too many runs": func(c *Claim) {
			for i := range uint64(order.MaxClaimRuns + 1) {
				c.Lost = append(c.Lost, seqset.Run{First: 2 * i, Last: 2 * i})
			}
		},
	} {
		c := good
		spoil(&c)
		if err := r.PutClaims(r.ctx, []Claim{c}); !isInvalid(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.must(r.PutClaims(r.ctx, []Claim{good}))
}
