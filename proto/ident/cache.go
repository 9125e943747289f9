package ident

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/cairnstorage/cairn/proto/internal/comb"
)

// The table of a key has 66 KiB, so that a full cache, which takes 2,048 parties
// that sign often, has 138 MB. It saves three quarters of the cost of a verification
// or more, and costs as much as ten to make.
const (
	cacheSets = 512
	cacheWays = 4
	// admitOneIn is how many valid signatures of strangers make one of them
	// known. Those who sign often get in soon; those who sign once seldom do,
	// and a flood of them costs little more than to verify it.
	admitOneIn = 64
)

// keyCache has tables of the keys of frequent signers, which make verifying
// cheaper. It holds up to cacheWays of them in each of its sets and is safe for
// concurrent use.
type keyCache struct {
	seed maphash.Seed // so that nobody can make keys that fall on one set
	sets []keySet
}

type keySet [cacheWays]atomic.Pointer[cachedKey]

type cachedKey struct {
	id    ID
	table *comb.Table
	used  atomic.Bool // since an admission last wanted its place
}

func newKeyCache(sets int) *keyCache {
	return &keyCache{seed: maphash.MakeSeed(), sets: make([]keySet, sets)}
}

func (c *keyCache) set(id ID) *keySet {
	return &c.sets[maphash.Bytes(c.seed, id[:])%uint64(len(c.sets))]
}

// get returns the table of id, or nil.
func (c *keyCache) get(id ID) *comb.Table {
	set := c.set(id)
	for way := range set {
		if k := set[way].Load(); k != nil && k.id == id {
			if !k.used.Load() { // a line of memory that others read is not written each time
				k.used.Store(true)
			}
			return k.table
		}
	}
	return nil
}

// admit makes id known, in a free place of its set or instead of the victim
// there. One that was used since somebody last wanted its place keeps it.
func (c *keyCache) admit(id ID, victim int) {
	set := c.set(id)
	place := &set[victim]
	for way := range set {
		if k := set[way].Load(); k == nil {
			place = &set[way]
		} else if k.id == id {
			return
		}
	}
	if old := place.Load(); old != nil && old.used.Swap(false) {
		return
	}
	table, err := comb.NewTable((*[IDSize]byte)(&id))
	if err != nil {
		return // no key: whatever it signed is refused without it as well
	}
	place.Store(&cachedKey{id: id, table: table})
}
