package kvtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/cairnstorage/cairn/satellite/kv"
)

func testModel(t *testing.T, s kv.Store) {
	m := NewModel(1)
	for range 400 {
		m.Step(t, s)
	}
	m.Check(t, s)
}

// Model drives a store with random updates and knows what it must hold.
type Model struct {
	rand *rand.Rand
	want map[string]string
}

// NewModel returns the model of an empty store. Equal seeds make equal steps.
func NewModel(seed uint64) *Model {
	return &Model{rand: rand.New(rand.NewPCG(seed, 0)), want: make(map[string]string)}
}

var errAbort = errors.New("kvtest: aborted on purpose")

// Step runs one random update, which may abort, and reads as it goes.
func (m *Model) Step(t *testing.T, s kv.Store) {
	t.Helper()
	seed := m.rand.Uint64()
	var next map[string]string
	err := s.Update(context.Background(), func(tx kv.Tx) error {
		// Everything is derived from seed, since this may run again.
		r := rand.New(rand.NewPCG(seed, 1))
		next = maps.Clone(m.want)
		for range r.IntN(12) {
			if err := m.operation(t, r, tx, next); err != nil {
				return err
			}
		}
		if r.IntN(8) == 0 {
			return errAbort
		}
		return nil
	})
	switch {
	case err == nil:
		m.want = next
	case !errors.Is(err, errAbort):
		t.Fatal(err)
	}
	if m.rand.IntN(20) == 0 {
		m.Check(t, s)
	}
}

func (m *Model) operation(t *testing.T, r *rand.Rand, tx kv.Tx, next map[string]string) error {
	key := randomKey(r)
	switch r.IntN(6) {
	case 0, 1, 2:
		value := fmt.Sprint(r.Uint64N(1 << (1 + r.IntN(60))))
		next[key] = value
		return tx.Set([]byte(key), []byte(value))
	case 3:
		delete(next, key)
		return tx.Delete([]byte(key))
	case 4:
		got, err := tx.Get([]byte(key))
		want, ok := next[key]
		if ok != (err == nil) || string(got) != want {
			t.Errorf("Get(%q) = %q, %v, want %q, %v", key, got, err, want, ok)
		}
		return nil
	default:
		got, err := dump(tx)
		if err == nil && !maps.Equal(got, next) {
			t.Errorf("update sees %q, want %q", got, next)
		}
		return err
	}
}

func randomKey(r *rand.Rand) string {
	b := make([]byte, 1+r.IntN(3))
	for i := range b {
		b[i] = "\x00ab\xff"[r.IntN(4)]
	}
	return string(b)
}

// Check compares a store with the model.
func (m *Model) Check(t *testing.T, s kv.Store) {
	t.Helper()
	if got := Dump(t, s); !maps.Equal(got, m.want) {
		t.Fatalf("store holds %q, want %q", got, m.want)
	}
}
