package main

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestGarbageAllowed(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{
		{0, 600}, {1, 600}, {leastHeap - 1, 600}, {leastHeap, 600}, {2 * leastHeap, 300},
		{24 << 20, 100}, {48<<20 - 1, 50}, {48 << 20, 50}, {1 << 30, 50}, {1 << 62, 50},
	} {
		if got := shareOf(c.live); got != c.want {
			t.Errorf("%d bytes in use: %d percent, want %d", c.live, got, c.want)
		}
	}
}

// What is allowed follows what is in use, down and up again.
func TestGarbageIsTended(t *testing.T) {
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
	t.Cleanup(func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
	tendGarbage()
	reach := func(what string, want func(int) bool) {
		for deadline := time.Now().Add(time.Minute); ; {
			runtime.GC()
			now := debug.SetGCPercent(garbageShare)
			debug.SetGCPercent(now)
			if want(now) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("with %s, garbage of %d percent is allowed", what, now)
			}
		}
	}
	few := func(percent int) bool { return percent > garbageShare }
	reach("little in use", few)
	much := make([]byte, 64<<20)
	reach("much in use", func(percent int) bool { return percent == garbageShare })
	runtime.KeepAlive(much)
	much = nil
	reach("little in use again", few)
}
