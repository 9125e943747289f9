package uplink

import "sync"

// slabSize is the size of a slab in bytes.
const slabSize = 2 << 20

// slabs is the memory of files that wait to be packed: cuts of slabs, which are
// used again once nothing in them is needed. So it does not depend on when
// garbage is collected how much of it there is. It is safe for concurrent use.
type slabs struct {
	mu   sync.Mutex
	open *slab // gives the next cut
	free []*slab
}

// A slab is cut from its beginning on.
type slab struct {
	bytes []byte
	used  int // bytes
	cuts  int // not released
}

// A slabCut is memory with one owner, who releases it. The zero value is none.
type slabCut struct {
	from  *slabs
	slab  *slab
	start int
	bytes []byte
}

// take returns a cut of so many bytes, of which there are no more than in a
// slab.
func (s *slabs) take(size int) slabCut {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil || s.open.used+size > slabSize {
		s.next()
	}
	b := s.open
	p := slabCut{from: s, slab: b, start: b.used, bytes: b.bytes[b.used : b.used+size : b.used+size]}
	b.used += size
	b.cuts++
	return p
}

// next opens a slab that is free, or a new one. The caller holds the lock.
func (s *slabs) next() {
	full := s.open
	if last := len(s.free) - 1; last >= 0 {
		s.open, s.free = s.free[last], s.free[:last]
	} else {
		s.open = &slab{bytes: make([]byte, slabSize)}
	}
	if full != nil && full.cuts == 0 {
		s.reclaim(full)
	}
}

func (s *slabs) reclaim(b *slab) {
	b.used = 0
	s.free = append(s.free, b)
}

// keep gives back what is behind the first n bytes, unless other cuts follow.
func (p slabCut) keep(n int) {
	p.from.mu.Lock()
	defer p.from.mu.Unlock()
	if p.slab.used == p.start+len(p.bytes) {
		p.slab.used = p.start + n
	}
}

// release ends the cut.
func (p slabCut) release() {
	if p.from == nil {
		return
	}
	p.from.mu.Lock()
	defer p.from.mu.Unlock()
	if p.slab.cuts--; p.slab.cuts == 0 && p.slab != p.from.open {
		p.from.reclaim(p.slab)
	}
}
