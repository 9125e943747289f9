package satellite

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// Bounds of what a node may say about itself.
const (
	maxAddresses  = 16
	maxAddressLen = 256
	maxText       = 64 // version, operator
	maxCursors    = 1024
)

const (
	// lapses is how many check-ins a node may miss before it is offline. Check-ins
	// may be close together for the sake of news; a node that is only busy for a
	// moment is not offline for that, and one that is gone shows by its connection.
	lapses   = 3
	minLapse = 9 * time.Second
	// keepEvery is how old the stored record of a node may get when nothing
	// that matters has changed.
	keepEvery = 5 * time.Minute
	// forgetAfter is for how long a node that no group needs is remembered.
	forgetAfter = 7 * 24 * time.Hour
	// forgetBadAfter is the same for one that was disqualified.
	forgetBadAfter = 90 * 24 * time.Hour
)

// Anyone may come with as many new keys as they like, so new nodes are let in
// at a bounded rate, and no more than can be kept in mind.
const (
	maxNodes      = 100_000
	newcomerBurst = 256
	newcomerRate  = 4 // a second
)

// registry is what the satellite knows of storage nodes: their records, and
// whether they are online. It is safe for concurrent use.
type registry struct {
	meta     *meta.Store
	now      func() time.Time
	interval time.Duration // between check-ins
	rule     audit.Rule
	log      *slog.Logger

	mu     sync.Mutex
	nodes  map[ident.ID]*node
	change chan struct{} // holds one token after a node came

	places allowance // for new nodes

	listening time.Time // since when nodes could be heard
	heard     time.Time // when one was, last
	watched   time.Time // up to when presence has been counted
}

// node is one storage node.
type node struct {
	meta.Node
	seen      time.Time // last check-in to this process; zero: none yet
	came      time.Time // when it came online last
	connected bool      // as far as is known, and fit
	stored    time.Time // when its record was stored last
	dirty     bool      // its record should be stored soon
	behind    uint64    // journal entries not followed at the last check-in
	impaired  bool      // it said that a data directory is away
	loss      audit.Loss
	calls     [calls]allowance

	standing       meta.Standing
	standingStored time.Time
	answered       bool // something, since it was suspended
	turned         bool // its state changed, which should be stored soon
}

// Calls of nodes that are bounded for each.
const (
	callClaim = iota // by the claim
	callPeers
	callReport
	calls
)

// bounds holds how many of each call a node may make: a second, and at once.
var bounds = [calls]struct{ rate, burst float64 }{
	callClaim:  {claimRate, claimBurst},
	callPeers:  {peersRate, peersBurst},
	callReport: {reportRate, reportBurst},
}

// openRegistry reads the nodes that are known.
func openRegistry(ctx context.Context, r *registry) error {
	r.nodes, r.change = make(map[ident.ID]*node), make(chan struct{}, 1)
	r.listening = r.now()
	known, err := r.meta.Nodes(ctx)
	if err != nil {
		return err
	}
	for i := range known {
		r.nodes[known[i].ID] = newNode(known[i], known[i].LastSeen)
	}
	return r.openStandings(ctx)
}

func newNode(n meta.Node, stored time.Time) *node {
	return &node{Node: n, stored: stored, standing: meta.Standing{Node: n.ID}}
}

// checkIn takes a node's news about itself. A new node's record is durable
// when it returns. A node that is not fit counts as offline. Error:
// satclient.ErrBadRequest.
func (r *registry) checkIn(ctx context.Context, id ident.ID, m *pb.CheckInRequest, fit bool) error {
	said, err := readCheckIn(id, m)
	if err != nil {
		return fmt.Errorf("%w: %w", satclient.ErrBadRequest, err)
	}
	said.Remote = transport.RemoteIP(ctx)
	now := r.now()
	if err := r.meet(ctx, said, now); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[id]
	if n == nil {
		return fmt.Errorf("%w: the node was forgotten this moment", satclient.ErrBusy)
	}
	r.hear(now)
	was := r.isOnline(n, now)
	said.FirstSeen, said.LastSeen = n.FirstSeen, now
	n.dirty = n.dirty || matters(&n.Node, &said) || now.Sub(n.stored) >= keepEvery
	n.Node, n.seen, n.connected, n.impaired = said, now, fit, m.Impaired
	r.step(n, now)
	if !was && r.isOnline(n, now) {
		n.came = now
		r.signal()
	}
	return nil
}

// spend takes n from what a node may call. Errors: satclient.ErrBusy, or
// satclient.ErrDenied for a node that has never checked in.
func (r *registry) spend(id ident.ID, call, n int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.nodes[id]
	if known == nil {
		return fmt.Errorf("%w: check in first", satclient.ErrDenied)
	}
	if !known.calls[call].take(r.now(), float64(n), bounds[call].rate, bounds[call].burst) {
		return fmt.Errorf("%w: too many requests of this node", satclient.ErrBusy)
	}
	return nil
}

// meet makes a node known that is not yet.
func (r *registry) meet(ctx context.Context, said meta.Node, now time.Time) error {
	r.mu.Lock()
	_, known := r.nodes[said.ID]
	room := known || r.admit(now)
	r.mu.Unlock()
	if known {
		return nil
	}
	if !room {
		return fmt.Errorf("%w: too many new nodes at once", satclient.ErrBusy)
	}
	said.FirstSeen, said.LastSeen = now, now
	if err := r.meta.PutNodes(ctx, []meta.Node{said}); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.nodes[said.ID] == nil {
		r.nodes[said.ID] = newNode(said, now)
	}
	return nil
}

// admit takes the place of a new node, if there is one. mu is held.
func (r *registry) admit(now time.Time) bool {
	return len(r.nodes) < maxNodes && r.places.take(now, 1, newcomerRate, newcomerBurst)
}

// forget drops the nodes that have not been seen for long, unless needed.
func (r *registry) forget(ctx context.Context, needed func(ident.ID) bool) error {
	r.mu.Lock()
	now := r.now()
	var old []ident.ID
	for id, n := range r.nodes {
		after := forgetAfter
		if n.standing.State == audit.Disqualified {
			after = forgetBadAfter
		}
		if now.Sub(n.LastSeen) > after && !needed(id) {
			old = append(old, id)
			delete(r.nodes, id)
		}
	}
	r.mu.Unlock()
	return r.meta.DeleteNodes(ctx, old)
}

// signal wakes whoever waits for nodes to come.
func (r *registry) signal() {
	select {
	case r.change <- struct{}{}:
	default:
	}
}

// readCheckIn bounds and validates what a node says.
func readCheckIn(id ident.ID, m *pb.CheckInRequest) (meta.Node, error) {
	n := meta.Node{
		ID: id, Capacity: m.Capacity, Used: m.Used, Free: min(m.Free, math.MaxInt64),
		Version: m.Version, Operator: m.Operator,
	}
	switch {
	case len(m.Addresses) == 0 || len(m.Addresses) > maxAddresses:
		return n, fmt.Errorf("a node has 1 to %d addresses, not %d", maxAddresses, len(m.Addresses))
	case len(m.Version) > maxText || len(m.Operator) > maxText:
		return n, fmt.Errorf("version and operator have at most %d characters", maxText)
	case len(m.Cursors) > maxCursors:
		return n, fmt.Errorf("%d cursors, at most %d", len(m.Cursors), maxCursors)
	}
	for _, a := range m.Addresses {
		if len(a) > maxAddressLen {
			return n, fmt.Errorf("address %.40q… is too long", a)
		}
	}
	at, err := transport.JoinAddress(id, m.Addresses)
	if err != nil {
		return n, err
	}
	n.Addresses = at.Addrs
	return n, nil
}

// matters says whether a record that changed like this should be stored soon.
func matters(a, b *meta.Node) bool {
	return !slices.Equal(a.Addresses, b.Addresses) || a.Remote != b.Remote || a.Capacity != b.Capacity ||
		a.Version != b.Version || a.Operator != b.Operator
}

// lapse is how long a node may stay silent.
func (r *registry) lapse() time.Duration { return max(lapses*r.interval, minLapse) }

// isThere says whether a node checked in lately and is still connected. mu is
// held.
func (r *registry) isThere(n *node, now time.Time) bool {
	return n.connected && !n.seen.IsZero() && now.Sub(n.seen) <= r.lapse()
}

// isOnline says whether a node is there and what it holds counts. mu is held.
func (r *registry) isOnline(n *node, now time.Time) bool {
	return r.isThere(n, now) && n.standing.State.Counts()
}

// takes says whether a node may be given new data. mu is held.
func (r *registry) takes(n *node, now time.Time) bool {
	return r.isOnline(n, now) && n.standing.State.TakesData() && !n.impaired && !n.loss.Large()
}

// online says whether a node checked in lately, is still connected and counts.
func (r *registry) online(id ident.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.nodes[id]
	return ok && r.isOnline(n, r.now())
}

// knows says whether a node is known.
func (r *registry) knows(id ident.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nodes[id] != nil
}

// disconnected notes that the last connection to a peer is gone: if it is a
// node, it is offline until it checks in again.
func (r *registry) disconnected(id ident.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n, ok := r.nodes[id]; ok {
		n.connected = false
	}
}

// addresses returns where nodes are reached, in the order given, and whether
// they are online or, to put, may be given new data.
func (r *registry) addresses(ids []ident.ID, put bool) []*pb.NodeAddress {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	list := make([]*pb.NodeAddress, len(ids))
	for i, id := range ids {
		a := &pb.NodeAddress{Node: id[:]}
		if n, ok := r.nodes[id]; ok {
			a.Addresses, a.Online = n.Addresses, r.isOnline(n, now)
			if put {
				a.Online = r.takes(n, now)
			}
		}
		list[i] = a
	}
	return list
}

// nodeView is a node at one moment.
type nodeView struct {
	meta.Node
	online   bool
	takes    bool // may be given new data
	impaired bool // it said that a data directory is away
	came     time.Time
	away     time.Duration // for how long it has not been there; 0: it is
	behind   uint64
	standing meta.Standing
	loss     audit.Loss
}

// all returns all nodes, in no order.
func (r *registry) all() []nodeView {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	list := make([]nodeView, 0, len(r.nodes))
	for _, n := range r.nodes {
		v := nodeView{
			Node: n.Node, online: r.isOnline(n, now), takes: r.takes(n, now), impaired: n.impaired, came: n.came,
			behind: n.behind, standing: n.standing, loss: n.loss,
		}
		if !r.isThere(n, now) {
			since := n.LastSeen
			if since.Before(r.listening) { // nobody is blamed for what nobody watched
				since = r.listening
			}
			v.away = max(now.Sub(since), 1)
		}
		list = append(list, v)
	}
	return list
}

// view returns all nodes, by the text of their ids.
func (r *registry) view() []nodeView {
	list := r.all()
	text := make(map[ident.ID]string, len(list))
	for i := range list {
		text[list[i].ID] = list[i].ID.String()
	}
	slices.SortFunc(list, func(a, b nodeView) int { return strings.Compare(text[a.ID], text[b.ID]) })
	return list
}

// free returns for each node how many bytes may still be put, 0 if it may not be
// given new data; -1 means that it is offline.
func (r *registry) free(ids []ident.ID) []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	list := make([]int64, len(ids))
	for i, id := range ids {
		list[i] = -1
		if n, ok := r.nodes[id]; ok && r.isOnline(n, now) {
			list[i] = 0
			if r.takes(n, now) {
				list[i] = int64(n.Free)
			}
		}
	}
	return list
}

// counts returns how many nodes are known and online.
func (r *registry) counts() (known, online int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	for _, n := range r.nodes {
		if r.isOnline(n, now) {
			online++
		}
	}
	return len(r.nodes), online
}

// note keeps what a check-in showed of what a node holds.
func (r *registry) note(id ident.ID, behind uint64, loss audit.Loss) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n, ok := r.nodes[id]; ok {
		n.behind, n.loss = behind, loss
	}
}

// store writes the records that changed; all of them writes also those of
// which only the counts did.
func (r *registry) store(ctx context.Context, all bool) error {
	r.mu.Lock()
	now := r.now()
	var records []meta.Node
	for _, n := range r.nodes {
		if n.dirty || all && n.LastSeen.After(n.stored) {
			records = append(records, n.Node)
			n.dirty, n.stored = false, now
		}
	}
	r.mu.Unlock()
	err := r.meta.PutNodes(ctx, records)
	if err != nil {
		r.mu.Lock()
		for i := range records {
			if n := r.nodes[records[i].ID]; n != nil {
				n.dirty = true
			}
		}
		r.mu.Unlock()
	}
	return err
}
