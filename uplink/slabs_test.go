package uplink

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestSlabs: no cut shares memory with another while both are needed, and
// what is released is used again.
func TestSlabs(t *testing.T) {
	type held struct {
		slabCut
		fill byte
		size int
	}
	var s slabs
	var cuts []held
	made := make(map[*slab]bool)
	most, now := 0, 0
	for i := range 20_000 {
		size := 1 + rand.IntN(64<<10)
		if i%50 == 0 {
			size = MaxPacked + 1
		}
		p := held{s.take(size), byte(i), size}
		if len(p.bytes) != size || cap(p.bytes) != size {
			t.Fatalf("took %d bytes, got %d of %d", size, len(p.bytes), cap(p.bytes))
		}
		if i%3 == 0 {
			p.size = rand.IntN(size + 1)
			p.keep(p.size)
		}
		copy(p.bytes, bytes.Repeat([]byte{p.fill}, p.size))
		made[p.slab] = true
		cuts = append(cuts, p)
		now += size
		most = max(most, now)
		for now > 8<<20 { // in the order of packs, about
			at := rand.IntN(min(len(cuts), 10))
			p := cuts[at]
			if want := bytes.Repeat([]byte{p.fill}, p.size); !bytes.Equal(p.bytes[:p.size], want) {
				t.Fatal("another cut was written over this one")
			}
			p.release()
			now -= len(p.bytes)
			cuts = append(cuts[:at], cuts[at+1:]...)
		}
	}
	if taken := len(made) * slabSize; taken > 4*most {
		t.Errorf("%d bytes of slabs for at most %d at a time", taken, most)
	}
	slabCut{}.release()
}
