package heal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// windowStripes is how many stripes are worked on at a time: a worker keeps
// 256 KiB of each source, and as much is on its way.
const windowStripes = 4

// errAgain says that a shard is to be made from its beginning again, with other
// sources.
var errAgain = errors.New("a peer failed and the shard is made anew")

// A making is one shard as it is made.
type making struct {
	*session
	m       shardstore.Missing
	layout  erasure.Layout
	roots   []merkle.Hash
	without map[ident.ID]bool // peers that lack the segment, fail or lied
	careful bool              // hash what each source sends, to know who lies
	sources []*source
	own     []byte   // this node's chunks of a window
	chunks  [][]byte // of a stripe, by slot
	buffers int      // made
}

// A source is a peer as one shard is made from it.
type source struct {
	*peer
	asked  int // stripes asked for, up to the end of a window
	got    int // stripes received, likewise
	buffer []byte
	hasher *merkle.Hasher // nil unless the making is careful
	err    error
}

// rebuild makes a shard: the roots from one peer, the bytes from any k, or all
// of them from the holder that is leaving. Bytes are taken on trust until the
// shard does not match its root. Then it is made once more, and what each source
// sends is held against its own shard root.
func (s *session) rebuild(ctx context.Context, m shardstore.Missing) error {
	r := &making{session: s, m: m, layout: s.layoutOf(m), without: make(map[ident.ID]bool)}
	if err := r.layout.Validate(); err != nil {
		return err
	}
	r.own = r.buffer()
	r.chunks = make([][]byte, r.layout.Total)
	for {
		err := r.attempt(ctx)
		switch {
		case errors.Is(err, errAgain):
		case !errors.Is(err, shardstore.ErrMismatch):
			return err
		case r.blame() > 0:
		case r.careful:
			return fmt.Errorf("%w: %w", errBadSegment, err)
		default:
			r.careful = true
		}
	}
}

// attempt makes the shard of the peers that are left.
func (r *making) attempt(ctx context.Context) (err error) {
	if r.roots == nil {
		if r.roots, err = r.session.roots(ctx, r.m, r.without); err != nil {
			return err
		}
	}
	if err := r.pick(ctx); err != nil {
		return err
	}
	key := shardstore.Key{Segment: r.m.Segment, Group: r.group()}
	w, err := r.c.Store.Create(ctx, key, r.layout.ShardSize(), r.layout.Total)
	if err != nil {
		return err
	}
	defer w.Abort()
	for first := 0; first < r.layout.Stripes(); first += windowStripes {
		if err := r.window(ctx, first); err != nil {
			return err
		}
		if _, err := w.Write(r.own[:r.windowSize(first)]); err != nil {
			return err
		}
	}
	_, err = w.Commit(ctx, shardstore.Meta{Key: key, Slot: r.slot, Layout: r.layout, Root: r.m.Root, ShardRoots: r.roots})
	return err
}

// buffer makes memory for one slot's chunks of a window.
func (r *making) buffer() []byte {
	r.buffers++
	return erasure.NewBuffer(r.buffers, 0, r.windowSize(0))
}

// windowSize is the bytes of a shard in the window that begins with a stripe.
func (r *making) windowSize(first int) int {
	last := min(first+windowStripes, r.layout.Stripes()) - 1
	return int(r.layout.ShardOffset(last)-r.layout.ShardOffset(first)) + r.layout.ChunkSize(last)
}

// pick chooses the sources: the holder of this very slot, if it is another node
// that is leaving, or k others.
func (r *making) pick(ctx context.Context) error {
	for _, s := range r.sources {
		s.hangUp() // it may owe answers to the last attempt
	}
	r.sources = r.sources[:0]
	for _, p := range r.peers {
		if p.slot != r.slot || !r.usable(p) {
			continue
		}
		err := r.open(ctx, p)
		if err == nil {
			r.sources = append(r.sources, r.newSource(p, 0))
			return nil
		}
		r.lacks(ctx, p, err)
	}
	for len(r.sources) < r.layout.Required {
		s, err := r.another(ctx, 0)
		if err != nil {
			return err
		}
		r.sources = append(r.sources, s)
	}
	return nil
}

// copies reports whether the shard is copied from who has it.
func (r *making) copies() bool { return len(r.sources) == 1 && r.sources[0].slot == r.slot }

func (r *making) usable(p *peer) bool {
	return !r.without[p.address.ID] && r.session.usable(p)
}

// another opens a source, beginning with a stripe.
func (r *making) another(ctx context.Context, first int) (*source, error) {
	for _, p := range r.peers {
		taken := slices.ContainsFunc(r.sources, func(s *source) bool { return s.peer == p })
		if p.slot == r.slot || taken || !r.usable(p) {
			continue
		}
		err := r.open(ctx, p)
		if err == nil {
			return r.newSource(p, first), nil
		}
		r.lacks(ctx, p, err)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return nil, fmt.Errorf("%w: %d are needed", r.tooFew(), r.layout.Required)
}

func (r *making) newSource(p *peer, first int) *source {
	s := &source{peer: p, asked: first, got: first, buffer: r.buffer()}
	if r.careful {
		s.hasher = merkle.NewHasher(r.layout.ShardSize())
	}
	return s
}

// lacks leaves a peer out of the making of this shard.
func (r *making) lacks(ctx context.Context, p *peer, err error) {
	r.without[p.address.ID] = true
	r.session.failed(ctx, p, err)
}

// window computes this node's bytes of a window. Sources that fail are replaced.
func (r *making) window(ctx context.Context, first int) error {
	for {
		r.receiveAll(ctx, first)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		failed, err := r.replace(ctx, first)
		if err != nil {
			return err
		}
		if !failed {
			return r.decode(first)
		}
	}
}

// receiveAll has every source send its chunks of a window.
func (r *making) receiveAll(ctx context.Context, first int) {
	streams := make([]Stream, len(r.sources))
	for i, s := range r.sources {
		streams[i] = s.stream
	}
	stop := context.AfterFunc(ctx, func() {
		for _, s := range streams {
			s.Reset()
		}
	})
	defer stop()
	var receiving sync.WaitGroup
	for _, s := range r.sources {
		if s.got <= first {
			receiving.Go(func() { s.err = r.receive(s, first) })
		}
	}
	receiving.Wait()
}

// receive gets a source's chunks of a window, and asks for the next before.
func (r *making) receive(s *source, first int) error {
	for s.asked <= first+windowStripes && s.asked < r.layout.Stripes() {
		if err := s.stream.Request(r.m.Segment, r.layout.ShardOffset(s.asked), r.windowSize(s.asked)); err != nil {
			return err
		}
		s.asked += windowStripes
	}
	part := s.buffer[:r.windowSize(first)]
	if err := s.stream.Receive(part); err != nil {
		return err
	}
	s.got = first + windowStripes
	r.read.Add(int64(len(part)))
	if s.hasher != nil {
		s.hasher.Write(part)
	}
	return nil
}

// replace puts others in the place of sources that failed. errAgain says that
// this cannot be done in the middle of the shard: one copied has no other
// source, and one made carefully needs all of each.
func (r *making) replace(ctx context.Context, first int) (failed bool, err error) {
	copied := r.copies()
	for i, s := range r.sources {
		if s.err == nil {
			continue
		}
		failed = true
		r.lacks(ctx, s.peer, s.err)
		switch {
		case r.over:
			return true, fmt.Errorf("%w: %w", errLease, s.err)
		case copied || r.careful:
			err = errAgain
		case err == nil:
			if r.sources[i], err = r.another(ctx, first); err != nil {
				r.sources[i] = s
			}
		}
	}
	return failed, err
}

// decode computes this node's chunks of a window from those of the sources.
func (r *making) decode(first int) error {
	if r.copies() {
		copy(r.own, r.sources[0].buffer[:r.windowSize(first)])
		return nil
	}
	for row := range min(windowStripes, r.layout.Stripes()-first) {
		from, size := row*erasure.ChunkSize, r.layout.ChunkSize(first+row)
		clear(r.chunks)
		for _, s := range r.sources {
			r.chunks[s.slot] = s.buffer[from : from+size]
		}
		r.chunks[r.slot] = r.own[from : from : from+size]
		if err := r.coder.ReconstructOne(r.chunks, r.slot); err != nil {
			return err
		}
	}
	return nil
}

// blame leaves out the sources whose bytes do not match their shard roots, as
// far as that is known, and says how many there are.
func (r *making) blame() (liars int) {
	for _, s := range r.sources {
		lied := r.copies() // what it sent is what did not match
		if s.hasher != nil {
			lied = s.hasher.Root() != r.roots[s.slot]
		}
		if !lied {
			continue
		}
		liars++
		r.without[s.address.ID] = true
		r.avoid(s.address.ID, liarPause)
		r.c.Logger.Warn("a peer sent bytes that are not of its shard", "peer", s.address.ID,
			"segment", r.m.Segment, "group", r.group(), "slot", s.slot)
	}
	return liars
}
