package merkle

// The prover and the verifier walk down the same tree, each to the roots of
// the greatest subtrees that are wholly within or wholly outside of the range.
// The prover writes down those outside; the verifier computes those within and
// reads the others.

// A prover collects the path for the leaves first up to but not including end.
type prover struct {
	first, end int
	hash       func(lo, hi int) Hash // root of a subtree outside of the range
	path       []Hash
}

func (p *prover) walk(lo, hi int) {
	switch {
	case hi <= p.first || p.end <= lo:
		p.path = append(p.path, p.hash(lo, hi))
	case p.first <= lo && hi <= p.end:
	default:
		mid := lo + split(hi-lo)
		p.walk(lo, mid)
		p.walk(mid, hi)
	}
}

// A verifier computes the root from the leaves first up to but not including
// end and from path.
type verifier struct {
	first, end int
	hash       func(lo, hi int) Hash // root of a subtree within the range
	path       []Hash
	short      bool // path ended too soon
}

func (v *verifier) walk(lo, hi int) Hash {
	switch {
	case hi <= v.first || v.end <= lo:
		return v.next()
	case v.first <= lo && hi <= v.end:
		return v.hash(lo, hi)
	default:
		mid := lo + split(hi-lo)
		left := v.walk(lo, mid)
		right := v.walk(mid, hi)
		return hashNode(&left, &right)
	}
}

func (v *verifier) next() Hash {
	if len(v.path) == 0 {
		v.short = true
		return Hash{}
	}
	next := v.path[0]
	v.path = v.path[1:]
	return next
}

// used reports whether the walk took exactly the whole path.
func (v *verifier) used() bool { return !v.short && len(v.path) == 0 }

// A shard is what a prover knows of one: the hash of every 64 KiB subtree, and
// of every leaf in those it touches.
type shard struct {
	leafCount int
	subtrees  []Hash
	firstLeaf int    // index of leaves[0], the first of a subtree
	leaves    []Hash // to the end of a subtree
}

func (s *shard) subtreeCount() int { return (s.leafCount + subtreeLeaves - 1) / subtreeLeaves }

// intact reports whether the leaves hash to the retained hashes. Otherwise a
// prover with a damaged disk would sign itself guilty of lying.
func (s *shard) intact() bool {
	subtree := s.firstLeaf / subtreeLeaves
	for rest := s.leaves; len(rest) > 0; subtree++ {
		n := min(len(rest), subtreeLeaves)
		if hashTree(rest[:n]) != s.subtrees[subtree] {
			return false
		}
		rest = rest[n:]
	}
	return true
}

// hash is the root of the leaves lo up to but not including hi. A subtree that
// is smaller than 64 KiB and no retained one is always a touched one.
func (s *shard) hash(lo, hi int) Hash {
	if lo%subtreeLeaves == 0 && (hi-lo >= subtreeLeaves || hi == s.leafCount) {
		return hashTree(s.subtrees[lo/subtreeLeaves : (hi+subtreeLeaves-1)/subtreeLeaves])
	}
	return hashTree(s.leaves[lo-s.firstLeaf : hi-s.firstLeaf])
}
