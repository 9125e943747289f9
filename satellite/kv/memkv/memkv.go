// Package memkv is a kv.Store in memory, for tests and as the plainest engine
// to compare others with. Nothing of it outlives the process.
package memkv

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/kv/internal/tree"
)

// Store is a kv.Store in memory.
type Store struct {
	updates chan struct{} // holds the turn of the next update

	mu     sync.Mutex
	state  tree.Map[[]byte]
	closed bool
}

// New returns an empty store.
func New() *Store {
	s := &Store{updates: make(chan struct{}, 1)}
	s.updates <- struct{}{}
	return s
}

func (s *Store) snapshot() (tree.Map[[]byte], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return tree.Map[[]byte]{}, kv.ErrClosed
	}
	return s.state, nil
}

// View implements kv.Store.
func (s *Store) View(ctx context.Context, fn func(kv.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	state, err := s.snapshot()
	if err != nil {
		return err
	}
	return fn(&tx{state: state})
}

// Update implements kv.Store.
func (s *Store) Update(ctx context.Context, fn func(kv.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.updates:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { s.updates <- struct{}{} }()
	state, err := s.snapshot()
	if err != nil {
		return err
	}
	t := &tx{state: state}
	if err := fn(t); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = t.state
	return nil
}

// Close implements kv.Store.
func (s *Store) Close() error {
	<-s.updates
	defer func() { s.updates <- struct{}{} }()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// tx is both kinds of transaction; View shows only its Reader half.
type tx struct {
	state   tree.Map[[]byte]
	written int
}

func (t *tx) Get(key []byte) ([]byte, error) {
	value, ok := t.state.Get(key)
	if !ok {
		return nil, kv.ErrNotFound
	}
	return bytes.Clone(value), nil
}

func (t *tx) Scan(start, end []byte) iter.Seq2[kv.Pair, error] {
	state := t.state
	return func(yield func(kv.Pair, error) bool) {
		for key, value := range state.Scan(start, end) {
			if !yield(kv.Pair{Key: key, Value: value}, nil) {
				return
			}
		}
	}
}

func (t *tx) Set(key, value []byte) error {
	if err := kv.CheckSet(key, value); err != nil {
		return err
	}
	if err := t.count(len(key) + len(value)); err != nil {
		return err
	}
	t.state = t.state.Set(bytes.Clone(key), append(make([]byte, 0, len(value)), value...))
	return nil
}

func (t *tx) Delete(key []byte) error {
	if err := kv.CheckKey(key); err != nil {
		return err
	}
	if err := t.count(len(key)); err != nil {
		return err
	}
	t.state = t.state.Delete(key)
	return nil
}

func (t *tx) count(n int) error {
	t.written += n
	if t.written > kv.MaxTx {
		return fmt.Errorf("%w: more than %d bytes in one update", kv.ErrTooBig, kv.MaxTx)
	}
	return nil
}
