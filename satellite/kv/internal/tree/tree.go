// Package tree is a sorted map that never changes: every change makes a new
// map that shares most of the old one, so a snapshot costs nothing.
package tree

import (
	"bytes"
	"iter"
	"math/rand/v2"
)

// Map is a sorted map from byte strings to V. The zero value is empty. Keys are
// kept as given and must not change.
type Map[V any] struct {
	root *node[V]
}

// node is one entry of a treap: ordered by key, and heap-ordered by a random
// priority, which keeps it shallow whatever keys a stranger chooses.
type node[V any] struct {
	key         []byte
	value       V
	priority    uint32
	left, right *node[V]
}

// Get returns the value of key.
func (m Map[V]) Get(key []byte) (value V, ok bool) {
	for n := m.root; n != nil; {
		switch c := bytes.Compare(key, n.key); {
		case c < 0:
			n = n.left
		case c > 0:
			n = n.right
		default:
			return n.value, true
		}
	}
	return value, false
}

// Empty tells whether the map has no entry.
func (m Map[V]) Empty() bool { return m.root == nil }

// Same tells whether m and other are one map, with nothing done in between, or
// both empty. It does not compare entries.
func (m Map[V]) Same(other Map[V]) bool { return m.root == other.root }

// Set returns the map with value under key.
func (m Map[V]) Set(key []byte, value V) Map[V] {
	return Map[V]{set(m.root, &node[V]{key: key, value: value, priority: rand.Uint32()})}
}

// Delete returns the map without key.
func (m Map[V]) Delete(key []byte) Map[V] {
	if _, ok := m.Get(key); !ok {
		return m
	}
	return Map[V]{remove(m.root, key)}
}

// Scan yields the entries with start ≤ key < end in order; an empty end means
// to the last.
func (m Map[V]) Scan(start, end []byte) iter.Seq2[[]byte, V] {
	return func(yield func([]byte, V) bool) {
		scan(m.root, start, end, yield)
	}
}

func set[V any](n, add *node[V]) *node[V] {
	if n == nil {
		return add
	}
	c := bytes.Compare(add.key, n.key)
	if c == 0 {
		same := *n
		same.value = add.value
		return &same
	}
	if add.priority > n.priority {
		// add belongs above n. If its key is somewhere below, it is lifted
		// out by split.
		top := *add
		top.left, top.right = split(n, add.key)
		return &top
	}
	parent := *n
	if c < 0 {
		parent.left = set(n.left, add)
	} else {
		parent.right = set(n.right, add)
	}
	return &parent
}

// split returns the entries below and above key, leaving key itself out.
func split[V any](n *node[V], key []byte) (below, above *node[V]) {
	if n == nil {
		return nil, nil
	}
	c := bytes.Compare(key, n.key)
	if c == 0 {
		return n.left, n.right
	}
	part := *n
	if c < 0 {
		below, part.left = split(n.left, key)
		return below, &part
	}
	part.right, above = split(n.right, key)
	return &part, above
}

// remove returns n without key, which is there.
func remove[V any](n *node[V], key []byte) *node[V] {
	c := bytes.Compare(key, n.key)
	if c == 0 {
		return merge(n.left, n.right)
	}
	parent := *n
	if c < 0 {
		parent.left = remove(n.left, key)
	} else {
		parent.right = remove(n.right, key)
	}
	return &parent
}

// merge joins two treaps, all keys of a being below those of b.
func merge[V any](a, b *node[V]) *node[V] {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority > b.priority:
		top := *a
		top.right = merge(a.right, b)
		return &top
	default:
		top := *b
		top.left = merge(a, b.left)
		return &top
	}
}

func scan[V any](n *node[V], start, end []byte, yield func([]byte, V) bool) bool {
	if n == nil {
		return true
	}
	fromHere := bytes.Compare(n.key, start) >= 0
	upToHere := len(end) == 0 || bytes.Compare(n.key, end) < 0
	if fromHere && !scan(n.left, start, end, yield) {
		return false
	}
	if fromHere && upToHere && !yield(n.key, n.value) {
		return false
	}
	return !upToHere || scan(n.right, start, end, yield)
}
