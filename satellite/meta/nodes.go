package meta

import (
	"context"
	"fmt"
	"slices"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/satellite/kv"
)

// maxRecordsTx bounds the bytes of records that are written in one transaction:
// nodes choose how long theirs are.
const maxRecordsTx = 1 << 20

// PutNodes stores what is known of nodes, many of them in several transactions.
func (s *Store) PutNodes(ctx context.Context, nodes []Node) error {
	return s.putAll(ctx, len(nodes), func(i int) (key, value []byte, err error) {
		if nodes[i].ID.IsZero() {
			return nil, nil, fmt.Errorf("%w: node without id", ErrInvalid)
		}
		return nodeKey(nodes[i].ID), nodes[i].encode(), nil
	})
}

// putAll stores n records in as many transactions as it takes. When one is
// refused those before it may be stored.
func (s *Store) putAll(ctx context.Context, n int, record func(i int) (key, value []byte, err error)) error {
	for done := 0; done < n; {
		var batch []kv.Pair
		for size := 0; done < n && size < maxRecordsTx; done++ {
			key, value, err := record(done)
			if err != nil {
				return err
			}
			batch = append(batch, kv.Pair{Key: key, Value: value})
			size += len(key) + len(value)
		}
		err := s.kv.Update(ctx, func(tx kv.Tx) error {
			for _, p := range batch {
				if err := tx.Set(p.Key, p.Value); err != nil {
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

// deleteAll forgets records; those that are not there are no error.
func (s *Store) deleteAll(ctx context.Context, keys [][]byte) error {
	for batch := range slices.Chunk(keys, batchWork) {
		err := s.kv.Update(ctx, func(tx kv.Tx) error {
			for _, key := range batch {
				if err := tx.Delete(key); err != nil {
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

// DeleteNodes forgets nodes, their standings and the evidence against them;
// those that are not there are no error.
func (s *Store) DeleteNodes(ctx context.Context, ids []ident.ID) error {
	keys := make([][]byte, 0, 2*len(ids))
	err := s.kv.View(ctx, func(r kv.Reader) error {
		keys = keys[:0]
		for _, id := range ids {
			numbers, err := evidenceOf(r, id, nil)
			if err != nil {
				return err
			}
			for _, n := range numbers {
				keys = append(keys, evidenceKey(id, n))
			}
			keys = append(keys, standingKey(id), nodeKey(id))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.deleteAll(ctx, keys)
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
