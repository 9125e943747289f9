// Package bound measures the best this machine could do for a scheme when both
// ends are on it: what each step costs that a byte of user data cannot do
// without, in seconds of a processor, and how fast the disk takes what nodes
// write. Benchmarks hold the real thing against it.
package bound

import (
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cairnstorage/cairn/proto/erasure"
)

// A Part is one step that all data goes through.
type Part struct {
	Name string
	CPU  float64 // seconds of a processor per byte of user data, at all ends together
	Rate float64 // bytes of user data per second by the clock, when nothing else is done
}

// Work is what one direction takes.
type Work struct {
	Parts []Part
	// Disk is how fast the disk takes the shards of user data, in bytes of that
	// per second; 0: no disk limits this direction.
	Disk float64
	// Together is all parts in one bare program, which does no more than they do:
	// what they cost each other in caches, and in processes that wake each other,
	// is in it. Not known for Degraded.
	Together Part
}

// CPU is what all parts take together.
func (w Work) CPU() (sum float64) {
	for _, p := range w.Parts {
		sum += p.CPU
	}
	return sum
}

// Limit is the rate that no transfer can exceed: every processor does nothing
// but the parts, and the disk is never idle, whichever of the two is slower.
func (w Work) Limit(cores int) float64 {
	limit := float64(cores) / w.CPU()
	if w.Disk > 0 {
		limit = min(limit, w.Disk)
	}
	return limit
}

// Names of parts.
const (
	PartSeal      = "seal"
	PartCode      = "code"
	PartHash      = "hash"
	PartTransport = "transport"
	PartReceiver  = "receiver's hash"
	PartWrite     = "write and fsync"
	PartRead      = "read"
	PartDecode    = "decode"
	PartOpen      = "open"

	partsTogether = "together"
)

// Place is what transfers to and from nodes in one directory take.
type Place struct {
	Dir      string
	Upload   Work
	Download Work // nothing lost
	Degraded Work // as many data shards lost as can be
}

// Config says what to measure and with what.
type Config struct {
	Scheme   erasure.Scheme
	Cores    int
	Duration time.Duration // of each part in each round
	Spawn    Spawn
	Together int64    // bytes of user data that go through all parts together in each round
	Dirs     []string // where nodes would keep their shards; far ends have to know them, too
}

// spent is what it cost to do something to so many bytes.
type spent struct {
	bytes     int64
	cpu, wall time.Duration
}

func (s spent) rate() float64 { return float64(s.bytes) / s.wall.Seconds() }

func (s spent) each() float64 { return s.cpu.Seconds() / float64(s.bytes) }

// part is the cost of a byte of user data that so many bytes of what was measured
// stand for.
func part(name string, rounds []spent, each float64) Part {
	return Part{Name: name, CPU: each * median(rounds, spent.each), Rate: median(rounds, spent.rate) / each}
}

// median is the value in the middle, the lower one of two.
func median(rounds []spent, of func(spent) float64) float64 {
	values := make([]float64, len(rounds))
	for i, r := range rounds {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[(len(values)-1)/2]
}

// atOnce has all workers work at the same time, until then, and counts the bytes
// that they say and what it costs this process.
func atOnce[W any](workers []W, duration time.Duration, work func(w W, until time.Time) (int64, error)) (spent, error) {
	var (
		wait   sync.WaitGroup
		mu     sync.Mutex
		bytes  int64
		failed error
	)
	cpu, start := ownCPU(), time.Now()
	for _, w := range workers {
		wait.Go(func() {
			done, err := work(w, start.Add(duration))
			mu.Lock()
			defer mu.Unlock()
			bytes += done
			failed = errors.Join(failed, err)
		})
	}
	wait.Wait()
	return spent{bytes: bytes, cpu: ownCPU() - cpu, wall: time.Since(start)}, failed
}

// ownCPU is the time that processors have spent on this process.
func ownCPU() time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
