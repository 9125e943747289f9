package meta

import (
	"context"
	"fmt"
	"slices"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/satellite/kv"
)

// maxNodesTx bounds the bytes of records that PutNodes writes in one
// transaction: nodes choose how long theirs are.
const maxNodesTx = 1 << 20

// PutNodes stores what is known of nodes, many of them in several transactions.
func (s *Store) PutNodes(ctx context.Context, nodes []Node) error {
	for len(nodes) > 0 {
		n := 0 // how many fit
		for size := 0; n < len(nodes) && (n == 0 || size < maxNodesTx); n++ {
			if nodes[n].ID.IsZero() {
				return fmt.Errorf("%w: node without id", ErrInvalid)
			}
			size += len(nodes[n].encode())
		}
		err := s.kv.Update(ctx, func(tx kv.Tx) error {
			for i := range nodes[:n] {
				if err := tx.Set(nodeKey(nodes[i].ID), nodes[i].encode()); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		nodes = nodes[n:]
	}
	return nil
}

// DeleteNodes forgets nodes; those that are not there are no error.
func (s *Store) DeleteNodes(ctx context.Context, ids []ident.ID) error {
	for batch := range slices.Chunk(ids, batchWork) {
		err := s.kv.Update(ctx, func(tx kv.Tx) error {
			for _, id := range batch {
				if err := tx.Delete(nodeKey(id)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Nodes returns every node, by the bytes of its id.
func (s *Store) Nodes(ctx context.Context) (nodes []Node, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		nodes = nil
		prefix := []byte{kindNode}
		for pair, err := range r.Scan(prefix, kv.PrefixEnd(prefix)) {
			if err != nil {
				return err
			}
			id, err := ident.IDFromBytes(pair.Key[1:])
			if err != nil {
				return fmt.Errorf("%w: node under key %x", ErrDamaged, pair.Key)
			}
			n, err := decodeNode(id, pair.Value)
			if err != nil {
				return err
			}
			nodes = append(nodes, n)
		}
		return nil
	})
	return nodes, err
}
