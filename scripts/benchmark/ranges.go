package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/cairnstorage/cairn/deploy/procnet"
	"github.com/cairnstorage/cairn/deploy/relay"
	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/scripts/benchmark/results"
	"github.com/cairnstorage/cairn/uplink"
)

const (
	rangeSize  = 4 << 10
	rangeCount = 300
	// chunkPlain is the plaintext of one chunk: ranges lie within one.
	chunkPlain = erasure.ChunkSize - 16
)

func (r *rig) measureRanges(ctx context.Context) error {
	size := r.o.sizes[len(r.o.sizes)-1]
	r.say("ranges of 4 KiB out of %d MiB", size>>20)
	if !r.o.measures("transfers") { // which leave the object
		if err := r.store(ctx, large(size), size); err != nil {
			return err
		}
	}
	project, err := uplink.Open(ctx, r.network.Grant)
	if err != nil {
		return err
	}
	defer project.Close()
	if err := readRange(ctx, project, large(size), size); err != nil { // connects
		return err
	}
	took := make([]time.Duration, rangeCount)
	m := startMeter(r.network)
	for i := range took {
		begun := time.Now()
		if err := readRange(ctx, project, large(size), size); err != nil {
			return err
		}
		took[i] = time.Since(begun)
	}
	spent := m.read()
	r.report.Ranges = append(r.report.Ranges, results.Range{
		Place: r.place.Name, Object: size, Count: len(took),
		P50: percentile(took, 0.5), P99: percentile(took, 0.99), CPU: milliseconds(spent.cpu) / float64(len(took)),
	})
	return nil
}

// readRange reads 4 KiB at random.
func readRange(ctx context.Context, project *uplink.Project, key string, size int64) error {
	offset := rand.Int64N(size/chunkPlain)*chunkPlain + rand.Int64N(chunkPlain-rangeSize+1)
	download, err := project.Download(ctx, bucket, key, uplink.DownloadOptions{Offset: offset, Length: rangeSize})
	if err != nil {
		return err
	}
	defer download.Close()
	n, err := io.Copy(io.Discard, download)
	if err == nil && n != rangeSize {
		err = fmt.Errorf("a range has %d bytes of %d", n, rangeSize)
	}
	return err
}

// measureTrips counts round trips by how long they take, and nodes by whose line
// carries bytes.
func (b *bench) measureTrips(ctx context.Context) error {
	const (
		rtt     = 40 * time.Millisecond
		size    = 32 << 20
		samples = 20
	)
	lines := &lines{line: relay.Line{Delay: rtt / 2}}
	defer lines.close()
	return b.withShapedNetwork(ctx, b.places[len(b.places)-1], b.o.schemes[0], lines, func(r *rig) error {
		r.say("round trips of ranges")
		if err := r.store(ctx, large(size), size); err != nil {
			return err
		}
		var first, warm []time.Duration
		touched := 0
		for range samples {
			project, err := uplink.Open(ctx, r.network.Grant)
			if err != nil {
				return err
			}
			one, two, nodes, err := lines.readTwice(ctx, project, large(size), size)
			project.Close()
			if err != nil {
				return err
			}
			first, warm, touched = append(first, one), append(warm, two), touched+nodes
		}
		inTrips := func(took []time.Duration) float64 { return percentile(took, 0.5) / milliseconds(rtt) }
		r.report.Trips = &results.Trips{
			RTT: milliseconds(rtt), First: inTrips(first), Warm: inTrips(warm), Nodes: float64(touched) / samples,
		}
		return nil
	})
}

// readTwice reads a range with a project that has no connections, and another
// with those made meanwhile, and counts the nodes that the first goes to.
func (l *lines) readTwice(ctx context.Context, project *uplink.Project, key string, size int64) (first, warm time.Duration, nodes int, err error) {
	before := l.moved()
	begun := time.Now()
	if err := readRange(ctx, project, key, size); err != nil {
		return 0, 0, 0, err
	}
	first = time.Since(begun)
	for i, moved := range l.moved() {
		if i > 0 && moved-before[i] >= rangeSize { // the first is the satellite's
			nodes++
		}
	}
	// Any node may be asked now, and not all are connected: the quickest of
	// some reads is one that found its node so.
	for i := range 8 {
		begun := time.Now()
		if err := readRange(ctx, project, key, size); err != nil {
			return 0, 0, 0, err
		}
		if took := time.Since(begun); i == 0 || took < warm {
			warm = took
		}
	}
	return first, warm, nodes, nil
}

// store puts an object of random bytes.
func (r *rig) store(ctx context.Context, key string, size int64) error {
	project, err := uplink.Open(ctx, r.network.Grant)
	if err != nil {
		return err
	}
	defer project.Close()
	return putFrom(ctx, project, key, size, io.LimitReader(randomBytes(), size))
}

// lines are relays before a satellite and its nodes, in that order.
type lines struct {
	line   relay.Line
	nodes  func(i int) relay.Line // nil: all have the same
	relays []*relay.Relay
}

// before makes the next relay and returns the arguments of what is behind it.
func (l *lines) before(line relay.Line) ([]string, error) {
	r, args, err := relay.Before(line)
	if err == nil {
		l.relays = append(l.relays, r)
	}
	return args, err
}

// moved is how many bytes have come from each so far.
func (l *lines) moved() []int64 {
	all := make([]int64, len(l.relays))
	for i, r := range l.relays {
		_, all[i] = r.Moved()
	}
	return all
}

func (l *lines) close() {
	for _, r := range l.relays {
		r.Close()
	}
}

// withShapedNetwork runs a network behind lines. Nodes reach each other, too,
// and their satellite, over these.
func (b *bench) withShapedNetwork(ctx context.Context, p place, scheme string, l *lines, do func(*rig) error) error {
	args, err := l.before(relay.Line{Delay: l.line.Delay})
	if err != nil {
		return err
	}
	parsed, err := parseScheme(scheme)
	if err != nil {
		return err
	}
	nodes := make([][]string, parsed.Total)
	for i := range nodes {
		line := l.line
		if l.nodes != nil {
			line = l.nodes(i)
		}
		if nodes[i], err = l.before(line); err != nil {
			return err
		}
	}
	c := procnet.Config{Scheme: scheme, Args: args, NodeArgs: func(i int) []string { return nodes[i] }}
	return b.withNetwork(ctx, p, c, do)
}
