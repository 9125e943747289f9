package tree

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

func collect(m Map[int], start, end string) (keys []string) {
	for key := range m.Scan([]byte(start), []byte(end)) {
		keys = append(keys, string(key))
	}
	return keys
}

// TestModel compares with a Go map, and every older state with what it was.
func TestModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var m Map[int]
	want := make(map[string]int)
	type state struct {
		m    Map[int]
		want map[string]int
	}
	var states []state
	for i := range 3000 {
		key := string([]byte{byte(r.IntN(8)), byte(r.IntN(8)), byte(r.IntN(8))}[:1+r.IntN(3)])
		if r.IntN(3) == 0 {
			m = m.Delete([]byte(key))
			delete(want, key)
		} else {
			m = m.Set([]byte(key), i)
			want[key] = i
		}
		if i%300 == 0 {
			states = append(states, state{m, maps.Clone(want)})
		} else if len(states) > 0 && m.Same(states[len(states)-1].m) && !maps.Equal(want, states[len(states)-1].want) {
			t.Fatalf("step %d: other entries are the same", i)
		}
	}
	for i, s := range append(states, state{m, want}) {
		keys := slices.Sorted(maps.Keys(s.want))
		if got := collect(s.m, "", ""); !slices.Equal(got, keys) {
			t.Fatalf("state %d holds %q, want %q", i, got, keys)
		}
		for key, value := range s.want {
			if got, ok := s.m.Get([]byte(key)); !ok || got != value {
				t.Fatalf("state %d: %q = %d, %v, want %d", i, key, got, ok, value)
			}
		}
		for range 200 {
			from, to := string([]byte{byte(r.IntN(9)), byte(r.IntN(9))}), string([]byte{byte(r.IntN(9)), byte(r.IntN(9))})
			in := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k < from || k >= to })
			if got := collect(s.m, from, to); !slices.Equal(got, in) {
				t.Fatalf("state %d from %q to %q: %q, want %q", i, from, to, got, in)
			}
		}
	}
	if !m.Same(m.Delete([]byte("none"))) || m.Same(m.Set([]byte("none"), 1)) {
		t.Error("what is the same is wrong")
	}
	if _, ok := m.Get([]byte("none")); ok || (Map[int]{}).root != nil || !(Map[int]{}).Empty() || m.Empty() {
		t.Error("emptiness is wrong")
	}
}

// TestStaysShallow: keys in order, or any order a stranger chooses, make no
// deep tree.
func TestStaysShallow(t *testing.T) {
	var m Map[int]
	const n = 10_000
	for i := range n {
		m = m.Set(binary.BigEndian.AppendUint64(nil, uint64(i)), i)
	}
	var depth func(*node[int]) int
	depth = func(n *node[int]) int {
		if n == nil {
			return 0
		}
		return 1 + max(depth(n.left), depth(n.right))
	}
	if d := depth(m.root); d > 60 {
		t.Errorf("%d keys in order are %d deep", n, d)
	}
	count := 0
	for range m.Scan(nil, nil) {
		if count++; count == 5 {
			break
		}
	}
	if count != 5 {
		t.Errorf("a scan that was stopped yielded %d", count)
	}
}

func BenchmarkSet(b *testing.B) {
	b.ReportAllocs()
	r := rand.New(rand.NewPCG(1, 1))
	var m Map[int]
	for i := 0; b.Loop(); i++ {
		if i%10_000 == 0 {
			m = Map[int]{}
		}
		m = m.Set(binary.BigEndian.AppendUint64(nil, r.Uint64()), i)
	}
}
