package ident

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
)

// An expanded key takes up about 1.6 KB, so that a full cache has 26 MB. It
// saves 5 of the 31 µs of a verification and costs 8 µs to make.
const (
	cacheSets = 4096
	cacheWays = 4
	// admitOneIn is how many valid signatures of strangers make one of them
	// known. Those who sign often get in soon; those who sign once seldom do,
	// and a flood of them costs little more than to verify it.
	admitOneIn = 16
)

// keyCache has the keys of frequent signers expanded, which makes verifying
// cheaper. It holds up to cacheWays of them in each of its sets and is safe for
// concurrent use.
type keyCache struct {
	seed maphash.Seed // so that nobody can make keys that fall on one set
	sets []keySet
}

type keySet [cacheWays]atomic.Pointer[cachedKey]

type cachedKey struct {
	id       ID
	expanded *ed25519.ExpandedPublicKey
	used     atomic.Bool // since an admission last wanted its place
}

func newKeyCache(sets int) *keyCache {
	return &keyCache{seed: maphash.MakeSeed(), sets: make([]keySet, sets)}
}

func (c *keyCache) set(id ID) *keySet {
	return &c.sets[maphash.Bytes(c.seed, id[:])%uint64(len(c.sets))]
}

// get returns the expanded key of id, or nil.
func (c *keyCache) get(id ID) *ed25519.ExpandedPublicKey {
	set := c.set(id)
	for way := range set {
		if k := set[way].Load(); k != nil && k.id == id {
			if !k.used.Load() { // a line of memory that others read is not written each time
				k.used.Store(true)
			}
			return k.expanded
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
	expanded, err := expand(id)
	if err != nil {
		return // no key: whatever it signed is refused without it as well
	}
	place.Store(&cachedKey{id: id, expanded: expanded})
}

func expand(id ID) (*ed25519.ExpandedPublicKey, error) {
	return ed25519.NewExpandedPublicKey(id[:])
}
