package satellite

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/storagenode/nodeclient"
)

const (
	// DefaultAuditInterval and DefaultAuditBatch come to 1,536 challenges a day
	// for each node. A node that has lost 1 % of its data is condemned within
	// 4,141 of them with 99 % (satellite/audit/SCORES.md): within three days.
	DefaultAuditInterval = time.Hour
	DefaultAuditBatch    = 64
	// MaxAuditBatch bounds the challenges of one audit.
	MaxAuditBatch = 256

	// A node in vetting, or one that owes answers, is audited so many times as
	// often as others, and one that has just failed so many times.
	soonerInVetting = 4
	soonerInDoubt   = 60

	// auditsAtOnce bounds the audits under way, and doubtsAtOnce besides those of
	// nodes that did not answer the last one: such a one lasts for auditPatience,
	// and others are not to wait for it.
	auditsAtOnce  = 64
	doubtsAtOnce  = 16
	auditPatience = 30 * time.Second

	// evidenceAtOnce is how many failures of one audit are kept as evidence.
	evidenceAtOnce = 4
)

// auditor asks nodes to prove that they hold what they claim. Every verdict is
// audit's; here is what a satellite has to know and do for it.
type auditor struct {
	meta      *meta.Store
	registry  *registry
	groups    *groups
	claims    *claims
	talk      talker
	satellite ident.ID
	interval  time.Duration // between two audits of a node, in the mean
	batch     int           // challenges of an audit
	patience  time.Duration
	now       func() time.Time
	log       *slog.Logger

	mu    sync.Mutex
	rand  io.Reader
	nodes map[ident.ID]*audited

	audits, doubts errgroup.Group // under way; of doubts, those of nodes that were mute

	verdicts [audit.Unavailable + 1]atomic.Uint64 // by verdict
	forgiven atomic.Uint64                        // answers that counted neither way
}

// A talker has a node answer an audit, until ctx ends. The report is the node's
// word on these answers to this audit.
type talker func(ctx context.Context, to transport.Address, audit *order.Audit) ([]order.Answer, *pb.Signed, error)

// talkOver talks to nodes over the connections that they keep.
func talkOver(dialer nodeclient.Dialer) talker {
	return func(ctx context.Context, to transport.Address, audit *order.Audit) ([]order.Answer, *pb.Signed, error) {
		stream, err := dialer.OpenAudit(ctx, to)
		if err != nil {
			return nil, nil, err
		}
		defer stream.Close()
		defer context.AfterFunc(ctx, stream.Reset)()
		return stream.Ask(audit)
	}
}

// audited is what the auditor keeps in mind of a node. One audit of it is under
// way at a time, and changes it.
type audited struct {
	id      ident.ID
	due     time.Time // of the next audit
	owed    []debt    // by when they were put first
	forgave time.Time // when it was last forgiven for telling late of a loss
	mute    bool      // it did not answer the last audit
	asking  bool
}

// debt is a challenge that a node has not answered. It is put again until it is
// answered, or there is nothing to answer any more: else a node could keep
// silent on just what it has lost.
type debt struct {
	asked
	since time.Time
}

func newAuditor(s *Satellite) *auditor {
	a := &auditor{
		meta: s.meta, registry: s.registry, groups: s.groups, claims: s.claims, satellite: s.key.ID(),
		talk: talkOver(nodeclient.Dialer{Host: s.host}), interval: s.config.AuditInterval, batch: s.config.AuditBatch,
		patience: auditPatience, now: s.now, rand: s.rand, log: s.log, nodes: make(map[ident.ID]*audited),
	}
	a.audits.SetLimit(auditsAtOnce)
	a.doubts.SetLimit(doubtsAtOnce)
	return a
}

// auditEvery is how often it is looked which nodes are due.
func (s *Satellite) auditEvery() time.Duration {
	return min(max(s.config.AuditInterval/soonerInDoubt, 20*time.Millisecond), time.Minute)
}

// keepAuditing audits all nodes again and again, each at its own pace.
func (s *Satellite) keepAuditing(ctx context.Context) error {
	defer s.auditor.wait()
	return s.every(ctx, s.auditEvery(), "audit nodes", s.auditOnce)
}

// auditOnce has the nodes audited that are due, unless there is trouble: then
// nobody knows what they should hold.
func (s *Satellite) auditOnce(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return nil
	}
	s.auditor.round(ctx)
	return nil
}

// round begins the audit of every node that is there and due. It waits for none
// to end; but for places, which nodes that did not answer last time do not take
// from others. What has to wait longer stays due.
func (a *auditor) round(ctx context.Context) {
	for _, n := range a.begin() {
		work := func() error {
			defer a.end(n)
			if err := a.audit(ctx, n); err != nil && ctx.Err() == nil {
				a.log.Error("cannot audit a node", "node", n.id, "error", err)
			}
			return nil
		}
		if !n.mute {
			a.audits.Go(work)
		} else if !a.doubts.TryGo(work) {
			a.end(n)
		}
	}
}

// wait returns when all audits have ended that were begun.
func (a *auditor) wait() {
	_ = a.audits.Wait()
	_ = a.doubts.Wait()
}

// begin returns the nodes that are there and due, in no order that they could
// tell, and forgets those that the registry has forgotten. When one is due is
// kept while it is away: a node that is there for moments only would hardly ever
// be audited otherwise.
func (a *auditor) begin() (due []*audited) {
	there := a.registry.there()
	now := a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range there {
		kept := a.nodes[n.id]
		if kept == nil {
			kept = &audited{id: n.id, due: a.first(n, now)}
			a.nodes[n.id] = kept
		}
		if !kept.asking && !kept.due.After(now) {
			kept.asking = true
			due = append(due, kept)
		}
	}
	for id, n := range a.nodes {
		if !n.asking && !a.registry.knows(id) {
			delete(a.nodes, id)
		}
	}
	random := a.seeded()
	random.Shuffle(len(due), func(i, j int) { due[i], due[j] = due[j], due[i] })
	return due
}

// first is when a node is audited first: at once when it is new or not back before
// it answers, and at any time within an interval when only the satellite is new.
func (a *auditor) first(n presence, now time.Time) time.Time {
	if n.vetting || n.mustAnswer {
		return now
	}
	return now.Add(time.Duration(a.seeded().Int64N(int64(a.interval))))
}

func (a *auditor) end(n *audited) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n.asking = false
}

// seeded is randomness that nobody can foresee. mu is held.
func (a *auditor) seeded() *rand.Rand {
	var seed [32]byte
	if _, err := io.ReadFull(a.rand, seed[:]); err != nil {
		panic("satellite: no randomness: " + err.Error())
	}
	return rand.New(rand.NewChaCha8(seed))
}

func (a *auditor) newRand() *rand.Rand {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.seeded()
}

// next is when a node is to be audited again: at a moment that it cannot foresee.
func (a *auditor) next(n *audited, failed bool, random *rand.Rand) time.Time {
	interval, s := a.interval, a.registry.standing(n.id)
	switch {
	case failed:
		return a.now().Add(interval / soonerInDoubt)
	case len(n.owed) > 0 || s.State == audit.Vetting || s.MustAnswer():
		interval /= soonerInVetting
	}
	return a.now().Add(interval/2 + time.Duration(random.Int64N(int64(interval)+1)))
}

// presence is a node that is there.
type presence struct {
	id         ident.ID
	vetting    bool
	mustAnswer bool
}

// there returns the nodes that are online.
func (r *registry) there() (list []presence) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	for id, n := range r.nodes {
		if r.isOnline(n, now) {
			list = append(list, presence{id, n.standing.State == audit.Vetting, n.standing.MustAnswer()})
		}
	}
	slices.SortFunc(list, func(a, b presence) int { return slices.Compare(a.id[:], b.id[:]) })
	return list
}

// newNonce draws the nonce of an audit.
func newNonce(random *rand.Rand) (nonce [16]byte) {
	binary.BigEndian.PutUint64(nonce[:8], random.Uint64())
	binary.BigEndian.PutUint64(nonce[8:], random.Uint64())
	return nonce
}

// asked is a challenge with the claim that it was drawn from.
type asked struct {
	order.Challenge
	claim *claim
}

func (q *asked) claimKey(node ident.ID) meta.ClaimKey {
	return meta.ClaimKey{Group: q.Group, Slot: q.Slot, Node: node}
}
