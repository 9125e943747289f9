package storagenode

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// A claimRig is a claimer over holdings that a test sets, and the satellite it
// claims to.
type claimRig struct {
	*claimer
	t        *testing.T
	clock    time.Time
	mine     []part
	held     map[uint32]*heldDouble
	refusing error
	answers  bool // though it refuses, it takes claims in
	known    map[uint32][]byte
	issued   map[uint32]time.Time // of the known ones: earlier ones are passed over
	until    time.Time            // unless zero: later ones are refused
	calls    []*pb.ClaimRequest   // since wanted last
}

// A heldDouble is what is held of one group.
type heldDouble struct {
	revision, seq uint64
	missing       seqset.Set
}

func newClaimRig(t *testing.T, groups ...uint32) *claimRig {
	r := &claimRig{t: t, clock: time.Unix(1e9, 0), held: make(map[uint32]*heldDouble), known: make(map[uint32][]byte), issued: make(map[uint32]time.Time)}
	for _, group := range groups {
		r.held[group] = &heldDouble{seq: 100}
		r.mine = append(r.mine, part{
			groupState: groupState{group: &order.Group{ID: group, Epoch: 3}},
			groupNews:  groupNews{told: true, slot: 2},
			settled:    true,
		})
	}
	r.claimer = &claimer{
		key: testKey(t), satellite: ident.ID{9}, store: r, hand: r.take, trouble: func(error) {},
		now: func() time.Time { return r.clock }, parts: func() []part { return slices.Clone(r.mine) },
		wake: make(chan struct{}, 1), newest: make(map[uint32]*claimMade),
	}
	return r
}

func (r *claimRig) Revision(group uint32) uint64        { return r.held[group].revision }
func (r *claimRig) Cursor(group uint32) (uint64, error) { return r.held[group].seq, nil }
func (r *claimRig) MissingRuns(group uint32) (seqset.Set, uint64, error) {
	return r.held[group].missing, r.held[group].revision, nil
}

// take is the satellite's.
func (r *claimRig) take(_ context.Context, m *pb.ClaimRequest) (*pb.ClaimResponse, error) {
	r.calls = append(r.calls, m)
	if r.refusing == nil || r.answers {
		for _, signed := range m.Claims {
			c, err := order.OpenClaim(signed, r.key.ID())
			if err != nil {
				r.t.Error(err)
				continue
			}
			if c.Issued.Before(r.issued[c.Group]) {
				continue
			}
			if !r.until.IsZero() && c.Issued.After(r.until) {
				return nil, satclient.ErrBadRequest
			}
			digest := order.Digest(signed)
			r.known[c.Group], r.issued[c.Group] = digest[:8], c.Issued
		}
	}
	return &pb.ClaimResponse{}, r.refusing
}

// set changes what is held of group 7.
func (r *claimRig) set(seq uint64, missing ...seqset.Run) {
	h := r.held[7]
	h.revision++
	h.seq, h.missing = seq, seqset.Of(missing...)
}

// checkIn is a check-in and the round after it.
func (r *claimRig) checkIn() {
	r.t.Helper()
	for i := range r.mine {
		r.mine[i].claim = r.known[r.mine[i].group.ID]
	}
	r.checkedIn()
	r.clock = r.clock.Add(3 * time.Second)
	r.wakeUp()
}

// wakeUp is a round without a check-in.
func (r *claimRig) wakeUp() {
	r.t.Helper()
	if err := r.round(r.t.Context()); err != nil && !errors.Is(err, r.refusing) {
		r.t.Error(err)
	}
}

// want checks which claims were handed in since it was called last.
func (r *claimRig) want(what string, want ...order.Claim) {
	r.t.Helper()
	var got []order.Claim
	for _, call := range r.calls {
		for _, signed := range call.Claims {
			c, err := order.OpenClaim(signed, r.key.ID())
			if err != nil {
				r.t.Fatal(err)
			}
			got = append(got, *c)
		}
	}
	r.calls = nil
	same := slices.EqualFunc(got, want, func(a, b order.Claim) bool {
		return a.Seq == b.Seq && slices.Equal(a.Missing, b.Missing) && a.Group == 7 && a.Node == r.key.ID() && a.Satellite == r.satellite
	})
	if !same {
		r.t.Errorf("%s: claims %+v, want %+v", what, got, want)
	}
}

func claim(seq uint64, missing ...seqset.Run) order.Claim {
	return order.Claim{Seq: seq, Missing: seqset.Of(missing...)}
}

func TestClaimsWhenTheyAreDue(t *testing.T) {
	r := newClaimRig(t, 7)
	r.checkIn()
	r.want("the first", claim(100))
	for range 3 * quietCheckIns {
		r.checkIn()
		r.wakeUp()
	}
	r.want("nothing has changed")

	waits := func(what string, set func(), want order.Claim) {
		t.Helper()
		r.mine[0].group = &order.Group{ID: 7, Epoch: r.mine[0].group.Epoch + 1}
		r.wakeUp() // so that a claim was just made
		r.calls = nil
		set()
		for range quietCheckIns - 1 {
			r.checkIn()
			r.wakeUp()
		}
		r.want(what + ", too soon")
		r.checkIn()
		r.want(what, want)
	}
	atOnce := func(what string, set func(), want order.Claim) {
		t.Helper()
		set()
		r.wakeUp()
		r.want(what, want)
		r.checkIn()
		r.wakeUp()
		r.want(what + ", again")
	}
	waits("the journal goes on", func() { r.set(150) }, claim(150))
	waits("it goes on without the shards", func() { r.set(170, seqset.Run{First: 160, Last: 165}) }, claim(170, seqset.Run{First: 160, Last: 165}))
	atOnce("one is lost", func() { r.set(172, seqset.Run{First: 8, Last: 8}, seqset.Run{First: 160, Last: 165}) },
		claim(172, seqset.Run{First: 8, Last: 8}, seqset.Run{First: 160, Last: 165}))
	waits("some are healed", func() { r.set(172, seqset.Run{First: 160, Last: 161}) }, claim(172, seqset.Run{First: 160, Last: 161}))
	atOnce("all are healed", func() { r.set(172) }, claim(172))
	atOnce("a directory is lost", func() { r.set(0) }, claim(0))
	waits("its journal is read again", func() { r.set(172, seqset.Run{First: 1, Last: 172}) }, claim(172, seqset.Run{First: 1, Last: 172}))
	atOnce("another epoch", func() { r.mine[0].group = &order.Group{ID: 7, Epoch: 100} }, claim(172, seqset.Run{First: 1, Last: 172}))
	atOnce("another slot", func() { r.mine[0].slot = 5 }, claim(172, seqset.Run{First: 1, Last: 172}))
	waits("missing beyond the cursor does not count", func() { r.set(180, seqset.Run{First: 175, Last: 300}) },
		claim(180, seqset.Run{First: 175, Last: 180}))
	r.held[7].revision++
	for range 2 * quietCheckIns {
		r.checkIn()
	}
	r.want("another revision of the same")
}

// A claim that the satellite has not taken in is handed in again, as it was.
// Who was given a slot, or is to be, says at once that all of it is there.
func TestClaimsOfWhatWasRebuilt(t *testing.T) {
	r := newClaimRig(t, 7)
	r.set(0)
	r.checkIn()
	r.want("before the journal was followed", claim(0))
	r.set(100, seqset.Run{First: 1, Last: 100})
	r.checkIn()
	r.want("followed")
	r.set(100)
	r.wakeUp()
	r.want("rebuilt", claim(100))
	r.set(101)
	r.checkIn()
	r.want("an upload")

	r.mine[0].successor = true
	for seq := uint64(102); seq < 110; seq++ {
		r.set(seq, seqset.Run{First: seq, Last: seq})
		r.checkIn()
		r.want("an upload passes by a successor")
		r.set(seq)
		r.wakeUp()
		r.want("and is healed", claim(seq))
		r.set(seq, seqset.Run{First: 1, Last: 1})
		r.wakeUp()
		r.want("a loss", claim(seq, seqset.Run{First: 1, Last: 1}))
		r.set(seq)
		r.wakeUp()
		r.want("healed", claim(seq))
	}
}

func TestClaimsAreHandedInAgain(t *testing.T) {
	r := newClaimRig(t, 7)
	r.refusing = satclient.ErrUnavailable
	r.checkIn()
	r.want("refused", claim(100))
	if _, ok := r.claimed(7); ok {
		t.Error("a claim counts that nobody took in")
	}
	r.wakeUp()
	r.want("refused again", claim(100))
	r.set(100, seqset.Run{First: 5, Last: 5})
	r.wakeUp()
	r.want("a loss meanwhile", claim(100, seqset.Run{First: 5, Last: 5}))
	r.refusing = nil
	r.checkIn()
	r.want("taken in", claim(100, seqset.Run{First: 5, Last: 5}))
	if _, ok := r.claimed(7); ok {
		t.Error("a claim counts before the satellite says that it has it")
	}
	r.checkIn()
	if c, ok := r.claimed(7); !ok || string(c.Digest[:8]) != string(r.known[7]) {
		t.Error("the claim that was taken in does not count")
	}
	r.known[7] = nil
	r.wakeUp()
	r.want("forgotten, before the news say so")
	r.checkIn()
	r.want("forgotten", claim(100, seqset.Run{First: 5, Last: 5}))
	r.known[7] = []byte("another.")
	r.checkIn()
	r.want("another's", claim(100, seqset.Run{First: 5, Last: 5}))
	r.checkIn()
	r.want("known again")

	// It was taken in, though the answer was lost.
	r.set(100)
	r.refusing, r.answers = satclient.ErrUnavailable, true
	r.wakeUp()
	r.want("no answer", claim(100))
	r.refusing = nil
	r.checkIn()
	r.want("known after all")
	if c, ok := r.claimed(7); !ok || string(c.Digest[:8]) != string(r.known[7]) {
		t.Error("the claim that was taken in does not count")
	}
}

// A clock that is set back does not make later claims earlier ones.
func TestClaimsAfterTheClockWasSetBack(t *testing.T) {
	r := newClaimRig(t, 7)
	r.checkIn()
	first := r.newest[7].Issued
	r.clock = r.clock.Add(-time.Hour)
	r.set(90)
	r.wakeUp()
	r.want("both", claim(100), claim(90))
	if r.newest[7].Issued.Before(first) {
		t.Error("the later claim is dated earlier")
	}

	// After a restart the node does not know what it claimed before.
	r.checkIn()
	r.newest = make(map[uint32]*claimMade)
	for i := 0; ; i++ {
		r.checkIn()
		r.calls = nil
		if _, ok := r.claimed(7); ok {
			break
		}
		if r.clock.After(first.Add(time.Minute)) {
			t.Fatalf("no claim counts after %d check-ins, and the clock is where it was", i)
		}
	}
	if r.clock.Before(first) {
		t.Error("an earlier claim counts")
	}
}

// A claim dated by a clock that was ahead is refused, and so are those made until
// the clock is right; but not those made then.
func TestClaimsAfterTheClockWasAhead(t *testing.T) {
	for name, changes := range map[string]bool{"the same again": false, "another": true} {
		r := newClaimRig(t, 7)
		right := r.clock
		r.until = right.Add(order.Skew)
		r.clock = right.Add(24 * time.Hour)
		for range 2 {
			if err := r.round(t.Context()); !errors.Is(err, satclient.ErrBadRequest) {
				t.Fatalf("%s: a claim dated a day ahead: %v", name, err)
			}
		}
		r.clock = right
		want := claim(100)
		if changes {
			r.set(90)
			want = claim(90)
		}
		r.calls = nil
		r.wakeUp()
		r.want(name, want)
		if r.issued[7].After(right) {
			t.Errorf("%s: dated %v ahead", name, r.issued[7].Sub(right))
		}
		r.checkIn()
		if _, ok := r.claimed(7); !ok {
			t.Errorf("%s: no claim counts", name)
		}
	}
}

func TestClaimsOfWhatTheSatelliteTold(t *testing.T) {
	r := newClaimRig(t, 7)
	r.mine[0].told = false
	r.checkIn()
	r.want("a group it said nothing of")
	r.mine[0].told, r.mine[0].settled = true, false
	r.checkIn()
	r.want("a slot that others' shards may be held for")
	r.mine[0].settled = true
	r.checkIn()
	r.want("told", claim(100))
	mine := r.mine
	r.mine = nil
	r.checkIn()
	if _, ok := r.claimed(7); ok {
		t.Error("a claim on a group that was left counts")
	}
	r.mine = mine
	r.checkIn()
	r.want("back again", claim(100))
}

// Whatever is missing, a claim fits and covers none of it.
func TestClaimsFit(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, step := range map[string]uint64{"close": 3, "far": 1 << 20, "farthest": 1 << 48} {
		for _, runs := range []int{1, order.MaxClaimRuns, order.MaxClaimRuns + 1, 3 * order.MaxClaimRuns} {
			r := newClaimRig(t, 7)
			var missing []seqset.Run
			at := uint64(0)
			for range runs {
				first := at + 2 + random.Uint64N(step)
				at = first + random.Uint64N(step)
				missing = append(missing, seqset.Run{First: first, Last: at})
			}
			r.set(at+5, missing...)
			r.checkIn()
			if len(r.calls) != 1 {
				t.Fatalf("%s, %d runs: no claim", name, runs)
			}
			c, err := order.OpenClaim(r.calls[0].Claims[0], r.key.ID())
			if err != nil {
				t.Fatalf("%s, %d runs: %v", name, runs, err)
			}
			if !slices.Equal(c.Missing.Union(r.held[7].missing), c.Missing) {
				t.Errorf("%s, %d runs: what is missing is claimed", name, runs)
			}
			if fits := len(r.held[7].missing.Encode(nil)) <= maxMissing && runs <= order.MaxClaimRuns; fits != slices.Equal(c.Missing, r.held[7].missing) {
				t.Errorf("%s, %d runs: %d are left out", name, runs, len(c.Missing))
			}
		}
	}
}

// The claims of many groups are handed in with few calls, none of them too large.
func TestClaimsOfManyGroups(t *testing.T) {
	for name, runs := range map[string]int{"small": 1, "large": 2000} {
		var groups []uint32
		for group := range uint32(300) {
			groups = append(groups, group+1)
		}
		r := newClaimRig(t, groups...)
		for _, h := range r.held {
			for i := range runs {
				h.missing = append(h.missing, seqset.Run{First: uint64(1000 * (i + 1)), Last: uint64(1000*(i+1) + 200)})
			}
			h.seq = uint64(1000*runs + 1000)
		}
		r.checkIn()
		claims, bytes := 0, 0
		for _, call := range r.calls {
			if size := proto.Size(call); size > satclient.MaxNodeMessage || len(call.Claims) > maxClaims || len(call.Claims) == 0 {
				t.Errorf("%s: a call with %d claims, %d bytes", name, len(call.Claims), size)
			}
			claims += len(call.Claims)
			bytes += proto.Size(call)
		}
		if claims != len(groups) || len(r.calls) > 1+max(claims/maxClaims, bytes/(maxClaimBytes-order.MaxBody)) {
			t.Errorf("%s: %d claims in %d calls of %d bytes", name, claims, len(r.calls), bytes)
		}
	}
}

// Whatever happens, the satellite never believes for longer than a round that a
// shard is held that is not.
func TestClaimsAreTrue(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	r := newClaimRig(t, 7)
	for step := range 3000 {
		h := r.held[7]
		n := 1 + random.Uint64N(max(1, h.seq))
		one := seqset.Of(seqset.Run{First: n, Last: n + random.Uint64N(5)})
		switch random.IntN(5) {
		case 0:
			r.set(h.seq+random.Uint64N(5), h.missing...)
		case 1:
			r.set(h.seq, h.missing.Union(one)...)
		case 2, 3:
			r.set(h.seq, h.missing.Subtract(one)...)
		default:
			r.set(h.seq)
		}
		if r.refusing = nil; random.IntN(4) == 0 {
			r.refusing, r.answers = satclient.ErrUnavailable, random.IntN(2) == 0
		}
		if random.IntN(2) == 0 {
			r.checkIn()
		} else {
			r.wakeUp()
		}
		if r.refusing != nil {
			continue
		}
		newest := r.newest[7]
		if string(newest.digest[:8]) != string(r.known[7]) && newest.handed {
			t.Fatalf("step %d: the satellite has another claim", step)
		}
		if newest.overstates(h.seq, h.missing) {
			t.Fatalf("step %d: %+v though %v is missing", step, newest.Claim, h.missing)
		}
	}
}
