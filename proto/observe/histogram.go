package observe

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// latencyBounds are the upper bounds of the buckets of Latencies in seconds, but
// for the last, which has none: from a millisecond, in steps of 2 to 2.5.
var latencyBounds = [...]float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}

// Latencies counts how long things took. The zero value has counted none. It is
// safe for concurrent use.
type Latencies struct {
	buckets [len(latencyBounds) + 1]atomic.Uint64
	nanos   atomic.Int64
}

// Observe counts one more.
func (l *Latencies) Observe(d time.Duration) {
	i, seconds := 0, d.Seconds()
	for i < len(latencyBounds) && seconds > latencyBounds[i] {
		i++
	}
	l.buckets[i].Add(1)
	l.nanos.Add(int64(d))
}

// Histogram is what was counted so far.
func (l *Latencies) Histogram() Histogram {
	h := Histogram{Bounds: latencyBounds[:], Counts: make([]uint64, len(l.buckets))}
	for i := range l.buckets {
		h.Counts[i] = l.buckets[i].Load()
	}
	h.Sum = time.Duration(l.nanos.Load()).Seconds()
	return h
}

// Histogram says how often values fell into which bucket.
type Histogram struct {
	Bounds []float64 // upper bounds, each included in its bucket, ascending
	Counts []uint64  // one more than bounds; what is above the last of them comes last
	Sum    float64   // of all values
}

// Count is how many values there were.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// metric is h as Prometheus wants it, in which buckets contain those before them.
func (h *Histogram) metric(desc *prometheus.Desc, labels []string) (prometheus.Metric, error) {
	buckets := make(map[float64]uint64, len(h.Bounds))
	below := uint64(0)
	for i, bound := range h.Bounds {
		below += h.Counts[i]
		buckets[bound] = below
	}
	return prometheus.NewConstHistogram(desc, h.Count(), h.Sum, buckets, labels...)
}
