package shardstore

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
)

const (
	// filterSpare is for how many more keys than there are a filter is made.
	filterSpare = 64 << 10
	// filterBits is how many bits a filter has for each of these. One that is full
	// takes about one key in thirty for known that is not.
	filterBits = 8
)

// A filter knows of most keys that an index does not have that it does not: of
// almost every shard that comes, since its key was drawn at random. It is a Bloom
// filter that has all bits of a key in one line of the processor's cache (Putze,
// Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters, 2007). It is
// safe for concurrent use.
type filter struct {
	seed  maphash.Seed // so that nobody can draw keys that fall together
	lines []filterLine
	room  int // for keys; guarded by known.mu
}

type filterLine [8]uint64

func newFilter(keys int) *filter {
	const perLine = 64 * len(filterLine{}) / filterBits
	return &filter{seed: maphash.MakeSeed(), lines: make([]filterLine, keys/perLine+1), room: keys}
}

// place is the line of a key and, by six bits for each word of it, which bits of
// these are its own.
func (f *filter) place(raw []byte) (line *filterLine, own uint64) {
	hash := maphash.Bytes(f.seed, raw)
	at, _ := bits.Mul64(hash, uint64(len(f.lines)))
	return &f.lines[at], hash * 0x9e3779b97f4a7c15 >> 16 // of which each bit depends on all below
}

func (f *filter) add(raw []byte) {
	line, own := f.place(raw)
	for i := range line {
		atomic.OrUint64(&line[i], 1<<(own&63))
		own >>= 6
	}
}

// lacks reports whether a key was surely not added.
func (f *filter) lacks(raw []byte) bool {
	line, own := f.place(raw)
	for i := range line {
		if atomic.LoadUint64(&line[i])>>(own&63)&1 == 0 {
			return true
		}
		own >>= 6
	}
	return false
}

// Known is the filter of the entries and marks of an index. Keys that were
// deleted stay in it, so that it is made anew when it is full, from what there is.
type known struct {
	now atomic.Pointer[filter] // nil: any key may be there

	mu   sync.Mutex
	next *filter // is being made
}

// lacks reports whether the index surely has nothing by the key of an entry or of
// a mark.
func (x *index) lacks(raw []byte) bool {
	now := x.known.now.Load()
	return now != nil && now.lacks(raw)
}

// expect is told of such keys before they are entered, by one caller at a time
// that has then entered all it told of before.
func (x *index) expect(raw ...[]byte) {
	x.known.mu.Lock()
	defer x.known.mu.Unlock()
	now := x.known.now.Load()
	if now != nil && now.room < len(raw) && x.known.next == nil {
		x.relearn()
	}
	for _, f := range []*filter{now, x.known.next} {
		if f == nil {
			continue
		}
		f.room -= len(raw)
		for i := range raw {
			f.add(raw[i])
		}
	}
}

// learn begins to make the first filter.
func (x *index) learn() {
	x.known.mu.Lock()
	defer x.known.mu.Unlock()
	x.relearn()
}

// relearn begins to make a filter. All keys that were expected before are in the
// index by now, for the goroutine to find; it is told of those to come. The caller
// holds known.mu.
func (x *index) relearn() {
	keys := x.size()
	next := newFilter(keys + keys/2 + x.spare)
	x.known.next = next
	x.worker.Go(func() {
		found, err := x.fill(next)
		x.known.mu.Lock()
		defer x.known.mu.Unlock()
		x.known.next = nil
		if err == nil {
			next.room -= found
			x.known.now.Store(next)
		} else if now := x.known.now.Load(); now != nil {
			now.room = x.spare // it gets worse, but not wrong; then try again
		}
	})
}

// fill adds all keys that a filter is to have, and says how many these are.
func (x *index) fill(f *filter) (found int, err error) {
	err = x.view(func(txn *badger.Txn) error {
		for _, kind := range []byte{keyShard, keyMissing} {
			err := scan(txn, []byte{kind}, func(raw, _ []byte) error {
				if found++; found%1000 == 0 && !x.pause(0) {
					return ErrClosed
				}
				f.add(raw)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return found, err
}
