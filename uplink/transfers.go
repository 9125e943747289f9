package uplink

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/storagenode/nodeclient"
)

const (
	// uploadMemory and downloadMemory bound the payload in memory, of all
	// uploads and of all downloads of a project, in bytes. A full segment with
	// its parity fits with room to spare.
	uploadMemory   = 192 << 20
	downloadMemory = 64 << 20
	// lingering bounds how long closing a project waits for nodes that are
	// still being sent shards of segments that are stored already.
	lingering = time.Second
	// idlePause is how long a segment stays open without getting anything: a
	// third of what nodes put up with.
	idlePause = 10 * time.Second
)

// transfers is what the uploads and downloads of a project have in common:
// memory, streams that are kept for the next, and what is known of nodes.
type transfers struct {
	dialer nodeclient.Dialer
	leases *leases
	peers  *peers
	put    *pool
	get    *pool

	maxStripes int           // of a segment; 0: as many as there can be
	idlePause  time.Duration // see there
	tolerate   tolerances

	mu      sync.Mutex
	coders  map[erasure.Scheme]*erasure.Coder
	idle    []*putSession            // the one used last is at the end
	putting map[*putSession]struct{} // all there are
	getting map[uint32]*getSession   // by group
	closed  bool
}

func newTransfers(host *transport.Host, leases *leases, now func() time.Time) *transfers {
	return &transfers{
		dialer:  nodeclient.Dialer{Host: host},
		leases:  leases,
		peers:   newPeers(now),
		put:     newPool(uploadMemory),
		get:     newPool(downloadMemory),
		coders:  make(map[erasure.Scheme]*erasure.Coder),
		putting: make(map[*putSession]struct{}),
		getting: make(map[uint32]*getSession),

		idlePause: idlePause,
		tolerate:  defaultTolerances(),
	}
}

// coder returns the coder of a scheme, which is dear to make.
func (t *transfers) coder(scheme erasure.Scheme) (*erasure.Coder, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.coders[scheme]; c != nil {
		return c, nil
	}
	c, err := erasure.NewCoder(scheme.Required, scheme.Total)
	if err != nil {
		return nil, err
	}
	t.coders[scheme] = c
	return c, nil
}

// takePut returns a session to put segments into a group that is not excluded:
// one that another upload is done with, or a new one. It goes back with parkPut.
func (t *transfers) takePut(ctx context.Context, exclude []uint32) (*putSession, error) {
	if s := t.unpark(exclude); s != nil {
		return s, nil
	}
	l, err := t.leases.forPut(ctx, exclude)
	if err != nil {
		return nil, err
	}
	coder, err := t.coder(l.group.Scheme)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, ErrClosed
	}
	s := newPutSession(l, coder, t.peers, t.tolerate, t.openPut(l))
	t.putting[s] = struct{}{}
	return s, nil
}

func (t *transfers) openPut(l *lease) func(context.Context, transport.Address) (putStream, error) {
	shown := l.shown()
	return func(ctx context.Context, to transport.Address) (putStream, error) {
		put, err := t.dialer.OpenPut(ctx, to, shown)
		if err != nil {
			return nil, err
		}
		return put, nil
	}
}

// unpark takes the session parked last that can still be used, and retires
// those that cannot.
func (t *transfers) unpark(exclude []uint32) *putSession {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.idle) > 0 {
		s := t.idle[len(t.idle)-1]
		t.idle = t.idle[:len(t.idle)-1]
		if t.usable(s, exclude) {
			return s
		}
		t.retire(s)
	}
	return nil
}

// maxIdle is how many sessions are kept for coming uploads.
const maxIdle = 16

// parkPut keeps a session for the next upload.
func (t *transfers) parkPut(s *putSession) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || len(t.idle) == maxIdle || !t.usable(s, nil) {
		t.retire(s)
		return
	}
	t.idle = append(t.idle, s)
}

// dropPut gives up a session whose group failed, and its lease.
func (t *transfers) dropPut(s *putSession) {
	t.leases.drop(s.lease)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.retire(s)
}

func (t *transfers) usable(s *putSession, exclude []uint32) bool {
	return s.lease.fresh(t.peers.now()) && !slices.Contains(exclude, s.lease.group.ID)
}

// retire lets a session finish what it has to send. The caller holds the lock.
func (t *transfers) retire(s *putSession) {
	s.close()
	go func() {
		s.tasks.Wait()
		s.cancel()
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.putting, s)
	}()
}

// close ends all streams. Shards of segments that are stored get a moment more.
func (t *transfers) close() {
	t.mu.Lock()
	t.closed = true
	sessions := slices.Collect(maps.Keys(t.putting))
	readers := slices.Collect(maps.Values(t.getting))
	t.mu.Unlock()
	for _, s := range sessions {
		s.closeSoon()
	}
	timer := time.AfterFunc(lingering, func() {
		for _, s := range sessions {
			s.abandon()
		}
	})
	defer timer.Stop()
	for _, s := range sessions {
		s.tasks.Wait()
	}
	for _, r := range readers {
		r.abandon()
	}
}

// shown is a lease as nodes are shown it.
func (l *lease) shown() nodeclient.Lease {
	return nodeclient.Lease{
		Group: l.group, SignedGroup: l.signed.Group, Limit: l.limit, SignedLimit: l.signed.Limit, Opened: l.opened,
	}
}

// use notes that a node was asked for so many bytes under the lease in all.
func (l *lease) use(bytes int64) {
	for used := l.used.Load(); bytes > used && !l.used.CompareAndSwap(used, bytes); {
		used = l.used.Load()
	}
}
