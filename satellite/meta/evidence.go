package meta

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/satellite/kv"
)

// MaxEvidence is how many files of evidence are kept of a node: the newest.
const MaxEvidence = 16

// AddEvidence keeps files of evidence against a node, in place of the oldest
// ones.
func (s *Store) AddEvidence(ctx context.Context, node ident.ID, files ...[]byte) error {
	if node.IsZero() {
		return fmt.Errorf("%w: evidence against no node", ErrInvalid)
	}
	files = files[max(len(files)-MaxEvidence, 0):]
	return s.kv.Update(ctx, func(tx kv.Tx) error {
		numbers, err := evidenceOf(tx, node, nil)
		if err != nil {
			return err
		}
		next := uint64(1)
		if n := len(numbers); n > 0 {
			next = numbers[n-1] + 1
		}
		for i, file := range files {
			if err := tx.Set(evidenceKey(node, next+uint64(i)), file); err != nil {
				return err
			}
		}
		for _, number := range numbers[:max(len(numbers)+len(files)-MaxEvidence, 0)] {
			if err := tx.Delete(evidenceKey(node, number)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Evidence returns the files of evidence that are kept of a node, the newest
// first.
func (s *Store) Evidence(ctx context.Context, node ident.ID) (files [][]byte, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		files = nil
		_, err := evidenceOf(r, node, func(file []byte) { files = append([][]byte{bytes.Clone(file)}, files...) })
		return err
	})
	return files, err
}

// evidenceOf returns the numbers of the files that are kept of a node.
func evidenceOf(r kv.Reader, node ident.ID, each func(file []byte)) (numbers []uint64, err error) {
	prefix := evidencesKey(node)
	for pair, err := range r.Scan(prefix, kv.PrefixEnd(prefix)) {
		if err != nil {
			return nil, err
		}
		if len(pair.Key) != len(prefix)+8 {
			return nil, fmt.Errorf("%w: evidence under key %x", ErrDamaged, pair.Key)
		}
		numbers = append(numbers, binary.BigEndian.Uint64(pair.Key[len(prefix):]))
		if each != nil {
			each(pair.Value)
		}
	}
	return numbers, nil
}
