package meta

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/satellite/kv"
)

// ClaimKey is what a claim is of.
type ClaimKey struct {
	Group uint32
	Slot  int // below erasure.MaxTotal
	Node  ident.ID
}

// Claim is the newest claim of a node on a slot.
type Claim struct {
	ClaimKey
	Signed *pb.Signed // exactly as the node made it
	// Lost is what the node once claimed and does not any more, of at most
	// order.MaxClaimRuns runs; LostAt is when that grew last, to the second.
	Lost   seqset.Set
	LostAt time.Time
}

// PutClaims stores claims, many of them in several transactions.
func (s *Store) PutClaims(ctx context.Context, claims []Claim) error {
	return s.putAll(ctx, len(claims), func(i int) (key, value []byte, err error) {
		c := &claims[i]
		if c.Group == 0 || c.Slot < 0 || c.Slot > 255 || c.Node.IsZero() || c.Signed == nil || len(c.Lost) > order.MaxClaimRuns {
			return nil, nil, fmt.Errorf("%w: claim on slot %d of group %d", ErrInvalid, c.Slot, c.Group)
		}
		return claimKey(c.ClaimKey), c.encode(), nil
	})
}

// DeleteClaims forgets claims; those that are not there are no error.
func (s *Store) DeleteClaims(ctx context.Context, keys []ClaimKey) error {
	encoded := make([][]byte, len(keys))
	for i, k := range keys {
		encoded[i] = claimKey(k)
	}
	return s.deleteAll(ctx, encoded)
}

// Claims returns every claim, by group, slot and node.
func (s *Store) Claims(ctx context.Context) (claims []Claim, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		claims = nil
		prefix := []byte{kindClaim}
		for pair, err := range r.Scan(prefix, kv.PrefixEnd(prefix)) {
			if err != nil {
				return err
			}
			k, err := parseClaimKey(pair.Key)
			if err != nil {
				return err
			}
			c, err := decodeClaim(k, slices.Clone(pair.Value))
			if err != nil {
				return err
			}
			claims = append(claims, c)
		}
		return nil
	})
	return claims, err
}
