package evidence

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
)

// honest is a node that does as section 9 of SPEC.md says.
type honest struct {
	t      testing.TB
	live   map[uint64]*shard // by number, as far as it has followed the journal
	held   map[uint64]bool
	seq    uint64
	claims []*pb.Signed // the last one counts
}

// sign claims what the node holds now.
func (h *honest) sign() {
	var missing []uint64
	for seq := uint64(1); seq <= h.seq; seq++ {
		if h.live[seq] != nil && !h.held[seq] {
			missing = append(missing, seq)
		}
	}
	h.claims = append(h.claims, signClaim(h.t, claimUpTo(h.seq, missing...)))
}

func (h *honest) step(random *rand.Rand) {
	switch n := uint64(random.IntN(int(h.seq) + 1)); random.IntN(6) {
	case 0, 1: // a live entry, mostly with a shard
		h.seq++
		h.live[h.seq] = newShard(h.seq)
		if random.IntN(4) > 0 {
			h.held[h.seq] = true
		}
	case 2: // a tombstone
		h.seq++
		delete(h.live, n)
		delete(h.held, n)
	case 3: // found lost: told before anything else
		delete(h.held, n)
	case 4: // healed
		if h.live[n] != nil {
			h.held[n] = true
		}
	case 5: // nothing, but another claim
	}
	h.sign()
}

func (h *honest) answer(c order.Challenge) order.Answer {
	s := h.live[c.Seq]
	known := c.Group == group && c.Slot == slot && s != nil && s.id == c.Segment && s.root == c.Root && c.Layout == layout
	if known && h.held[c.Seq] {
		return s.prove()
	}
	if known {
		return order.Answer{Status: order.Missing, Claim: order.Digest(h.claims[len(h.claims)-1])}
	}
	return order.Answer{Status: order.Missing}
}

// challenge asks for something that may be there, was once or never will be: a
// satellite may lie.
func challenge(random *rand.Rand, most uint64) order.Challenge {
	c := newShard(1 + random.Uint64N(most+1)).challenge()
	switch random.IntN(8) {
	case 0:
		c.Root[3]++
	case 1:
		c.Seq = 1 + random.Uint64N(most+1)
	case 2:
		c.Slot = (c.Slot + 1) % layout.Total
	case 3:
		c.Group++
	case 4:
		c.Layout.Total++
	}
	return c
}

// TestHonestNodeIsNeverConvicted has a satellite ask an honest node all sorts of
// things, and accuse it with all that it ever signed.
func TestHonestNodeIsNeverConvicted(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 11))
	h := &honest{t: t, live: map[uint64]*shard{}, held: map[uint64]bool{}}
	var audits []*audited
	proved, missing := 0, 0
	for range 40 {
		h.step(random)
		var challenges []order.Challenge
		var answers []order.Answer
		for range 4 {
			c := challenge(random, h.seq)
			a := h.answer(c)
			if a.Status == order.Proved {
				proved++
			} else if a.Claim != [32]byte{} {
				missing++
			}
			challenges, answers = append(challenges, c), append(answers, a)
		}
		audits = append(audits, answered(t, node, challenges, answers))
	}
	if proved < 20 || missing < 5 {
		t.Fatalf("only %d proofs and %d losses that were told: nothing is tested", proved, missing)
	}
	for _, a := range audits {
		for i := range a.answers {
			claims := []*pb.Signed{nil}
			if a.answers[i].Status == order.Missing {
				claims = append(claims, h.claims...)
			}
			for _, claim := range claims {
				if f, err := a.evidence(i, claim).Check(); !errors.Is(err, ErrNothing) {
					t.Fatalf("an honest node is convicted: %+v, %v", f, err)
				}
			}
		}
	}
}
