package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"

	"github.com/cairnstorage/cairn/proto/pages"
)

// The memory of transfers is bounded and reused, and has no pointers that a
// collection would have to follow, so that collecting is cheap beside them. It is
// done before garbage is half as much as what is in use, and more often as the
// limit nears. A small command has little in use, and half of little would have it
// collect all the time: it may leave some garbage whatever it uses.
const (
	memoryLimit  = 320 << 20
	garbageShare = 50       // percent of what is in use
	garbageLeast = 24 << 20 // bytes
	// leastHeap is what the runtime collects at first at with a share of 100.
	leastHeap = 4 << 20
)

// tendGarbage sets when garbage is collected, and again after each collection.
func tendGarbage() {
	debug.SetMemoryLimit(memoryLimit)
	debug.SetGCPercent(shareOf(leastHeap))
	runtime.SetFinalizer(new(collection), (*collection).ended)
}

// A collection is garbage at once, and so is noticed by the next collection of it.
type collection struct{ _ *int }

func (c *collection) ended() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if live[0].Value.Kind() == metrics.KindUint64 {
		debug.SetGCPercent(shareOf(live[0].Value.Uint64()))
	}
	runtime.SetFinalizer(c, (*collection).ended)
}

// shareOf is the garbage to allow beside so many bytes in use, in percent of them.
func shareOf(live uint64) int {
	return int(max(garbageShare, garbageLeast*100/max(live, leastHeap)))
}

const (
	// muchData is from how many bytes on preparing for them is worth its while.
	muchData = 16 << 20
	// muchMemory is about what moving data takes at most.
	muchMemory = 256 << 20
)

// prepareForMuch is to be called before there is much in memory.
var prepareForMuch = sync.OnceFunc(func() { pages.Prepare(muchMemory) })

// prepareFor is to be called before so many bytes are moved; less than 0: nobody
// knows how many.
func prepareFor(size int64) {
	if size < 0 || size >= muchData {
		prepareForMuch()
	}
}
