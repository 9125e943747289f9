// Package heal makes shards again that a node lacks, from any k of the others of
// their segments. Encryption comes before coding and coding is deterministic, so
// a shard made again is the one the segment root commits to, whoever made it and
// whoever it was made from.
//
// Healing costs k transfers a shard, so it goes by need: at once what the
// satellite calls urgent, the most endangered first; the rest slowly, while
// neither the node nor its peers have anything else to do. Patience with them ends
// after an hour.
package heal

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/storagenode/nodeclient"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// Config is what a Healer works with. All but Report, Rate, Workers and Logger
// is required.
type Config struct {
	Node      ident.ID
	Satellite ident.ID
	Store     *shardstore.Store
	// Needs says what is wanted of the node's groups, those that it holds a slot
	// of or is to take one over of.
	Needs func() []Need
	// Lease asks the satellite for permission to read from a group's holders.
	Lease func(ctx context.Context, group uint32) (*pb.GroupLease, error)
	// Open opens a stream to one of them, which serves others first if the healer
	// is patient.
	Open func(ctx context.Context, to transport.Address, lease nodeclient.Lease, patient bool) (Stream, error)
	// Report tells the satellite of a segment that its uplink encoded wrong.
	Report func(ctx context.Context, group uint32, m shardstore.Missing) error
	// Idle says whether the node has nothing else to do.
	Idle    func() bool
	Rate    int64 // bytes a second read while idle: 4 MiB
	Workers int   // shards made at a time when it is urgent: 4
	Now     func() time.Time
	Random  func(n int) int // uniform in [0,n)
	Logger  *slog.Logger    // nil logs nothing
}

// A Stream is what a Healer needs of nodeclient.Get.
type Stream interface {
	Request(segment order.SegmentID, offset int64, length int) error
	Receive(into []byte) error
	Roots(segment order.SegmentID, layout erasure.Layout, root merkle.Hash) ([]merkle.Hash, error)
	Close() error
	Reset()
}

// Progress counts what a Healer has done since it was made.
type Progress struct {
	Shards  int64 // made again
	Written int64 // bytes of them
	Read    int64 // bytes they were made from
	Failed  int64 // attempts that failed
	Bad     int64 // segments found to be encoded wrong
	Active  int64 // shards being made now
}

// A Healer heals. New makes it and Run runs it.
type Healer struct {
	c         Config
	wake      chan struct{}
	batchTime time.Duration // see maxBatchTime

	shards, written, read, failed, bad, active atomic.Int64

	mu      sync.Mutex
	retries map[shardstore.Key]retry // shards that could not be made
	avoided map[ident.ID]time.Time   // nodes not to be read from, until then
	waits   map[uint32]wait          // groups whose shards that are not urgent wait for others
}

// A wait is that of a group. It ends when a shard is made, or none is left to make.
type wait struct {
	since time.Time
	until time.Time // when peers that were busy are asked again
}

// A retry says when a shard that could not be made is tried again.
type retry struct {
	at    time.Time
	tries int
}

const (
	defaultRate    = 4 << 20
	defaultWorkers = 4

	// look is how often a healer looks by itself whether there is work.
	look = 5 * time.Second
	// maxBatch and maxBatchTime bound the work that is chosen at a time.
	maxBatch     = 512
	maxBatchTime = 20 * time.Second
	// A shard that could not be made is tried again after minRetry, doubled for
	// each try up to maxRetry.
	minRetry = 5 * time.Second
	maxRetry = time.Hour
	// badRetry is when a segment that is encoded wrong is tried again: perhaps
	// it was not.
	badRetry = 24 * time.Hour
	// maxRetries bounds how many shards that could not be made are remembered.
	maxRetries = 50_000
	// liarPause is how long a node that sent wrong bytes is not read from,
	// deadPause one that could not be read from.
	liarPause = time.Hour
	deadPause = 30 * time.Second
	// patience is for how long everybody else comes first, busyPause after how
	// much of it a group's peers are asked again.
	patience  = time.Hour
	busyPause = 30 * time.Second
)

// New makes a Healer.
func New(c Config) (*Healer, error) {
	if c.Store == nil || c.Needs == nil || c.Lease == nil || c.Open == nil || c.Idle == nil || c.Now == nil ||
		c.Random == nil || c.Node.IsZero() || c.Satellite.IsZero() {
		return nil, errors.New("heal: Config is incomplete")
	}
	if c.Rate <= 0 {
		c.Rate = defaultRate
	}
	if c.Workers <= 0 {
		c.Workers = defaultWorkers
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Healer{
		c: c, wake: make(chan struct{}, 1), batchTime: maxBatchTime,
		retries: make(map[shardstore.Key]retry), avoided: make(map[ident.ID]time.Time),
		waits: make(map[uint32]wait),
	}, nil
}

// Wake says that there may be work: what is wanted has changed, or something was
// lost.
func (h *Healer) Wake() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Progress says what was done so far.
func (h *Healer) Progress() Progress {
	return Progress{
		Shards: h.shards.Load(), Written: h.written.Load(), Read: h.read.Load(),
		Failed: h.failed.Load(), Bad: h.bad.Load(), Active: h.active.Load(),
	}
}

// Run heals until ctx is done.
func (h *Healer) Run(ctx context.Context) {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for ctx.Err() == nil {
		worked, err := h.Once(ctx)
		if err != nil && ctx.Err() == nil {
			h.c.Logger.Warn("cannot heal; trying again soon", "error", err)
		}
		if worked && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-h.wake:
		case <-ticker.C:
		}
	}
}

// Once does the work that is most needed, some of it, and reports whether there
// was any that it could do, or there may be in another group.
func (h *Healer) Once(ctx context.Context) (worked bool, err error) {
	job, err := h.choose()
	if err != nil || job == nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, h.batchTime)
	defer cancel()
	done, err := h.do(ctx, job)
	return done > 0 || job.patient && h.asksLater(job.need.Group), err
}

// do makes the shards of a job, several at a time if it is urgent. It ends early
// when the time is over or the store takes no more.
func (h *Healer) do(ctx context.Context, j *job) (done int, err error) {
	queue := make(chan shardstore.Missing, len(j.shards))
	for _, m := range j.shards {
		queue <- m
	}
	close(queue)
	workers := 1
	if j.urgent {
		workers = min(h.c.Workers, len(j.shards))
	}
	var tasks sync.WaitGroup
	var made atomic.Int64
	failures := make(chan error, workers)
	for range workers {
		tasks.Go(func() { failures <- h.work(ctx, j, queue, &made) })
	}
	tasks.Wait()
	close(failures)
	for failure := range failures {
		err = errors.Join(err, failure)
	}
	return int(made.Load()), err
}

// work makes shards from a queue over streams of its own, until there are none,
// or an error that concerns them all.
func (h *Healer) work(ctx context.Context, j *job, queue <-chan shardstore.Missing, made *atomic.Int64) error {
	var s *session
	defer func() {
		if s != nil {
			s.close()
		}
	}()
	for m := range queue {
		if ctx.Err() != nil || j.patient && !h.c.Idle() {
			return nil
		}
		if s == nil || s.over {
			if s != nil {
				s.close()
			}
			var err error
			if s, err = h.openSession(ctx, j); err != nil {
				return err
			}
		}
		begun, read := h.c.Now(), h.read.Load()
		err := h.heal(ctx, s, m)
		switch {
		case ctx.Err() != nil, errors.Is(err, errLater):
			return nil
		case errors.Is(err, shardstore.ErrFull), errors.Is(err, shardstore.ErrClosed):
			return err
		case err == nil:
			made.Add(1)
		}
		if !j.urgent {
			h.pace(ctx, h.read.Load()-read, h.c.Now().Sub(begun))
		}
	}
	return nil
}

// heal makes one shard and keeps account of it.
func (h *Healer) heal(ctx context.Context, s *session, m shardstore.Missing) error {
	h.active.Add(1)
	defer h.active.Add(-1)
	key := shardstore.Key{Segment: m.Segment, Group: s.group()}
	err := s.rebuild(ctx, m)
	switch {
	case err == nil:
		h.shards.Add(1)
		h.written.Add(s.layoutOf(m).ShardSize())
		h.forgive(key)
		if s.patient {
			h.waitNoMore(key.Group)
		}
	case errors.Is(err, errLater): // nothing failed
		h.askLater(key.Group)
	case errors.Is(err, errBadSegment):
		h.bad.Add(1)
		h.c.Logger.Error("a segment was encoded wrong by its uplink", "segment", m.Segment, "group", key.Group)
		h.putOff(key, badRetry)
		if h.c.Report != nil {
			if err := h.c.Report(ctx, key.Group, m); err != nil {
				h.c.Logger.Warn("could not report a segment that was encoded wrong", "segment", m.Segment, "error", err)
			}
		}
	case ctx.Err() == nil:
		h.failed.Add(1)
		h.c.Logger.Debug("could not make a shard again", "segment", m.Segment, "group", key.Group, "error", err)
		h.putOff(key, 0)
	}
	return err
}

// pace makes what was read in some time take as long as it may.
func (h *Healer) pace(ctx context.Context, read int64, took time.Duration) {
	due := time.Duration(float64(read) / float64(h.c.Rate) * float64(time.Second))
	if due <= took {
		return
	}
	timer := time.NewTimer(due - took)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
