// Package liar is a storage node that misbehaves as it is told, to test what a
// network makes of such nodes. It speaks the real protocols to satellites,
// uplinks and nodes, and keeps its shards in memory.
package liar

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// Faults is how a liar misbehaves. The zero value is an honest node, but for its
// memory, which does not survive it, and for shards that it never got: those
// it leaves out of its claims and does not make again.
type Faults struct {
	WrongBytes bool    `json:"wrong_bytes"` // answer every get with wrong bytes
	FalseProof bool    `json:"false_proof"` // answer every challenge with a proof, made up if need be
	Forget     float64 `json:"forget"`      // drop this share of the shards, of those held and of new ones once they are receipted
	Claim      bool    `json:"claim"`       // claim everything, held or not
	Silent     bool    `json:"silent"`      // take requests and never answer
}

// Config is what a liar is run with. All but Listen and Logger is required.
type Config struct {
	Key       ident.Key
	Satellite transport.Address
	Listen    string // multiaddr; empty: any port of loopback
	Logger    *slog.Logger
}

// A Liar is one such node. New makes it and Run runs it.
type Liar struct {
	c      Config
	host   *transport.Host
	client *satclient.Client
	log    *slog.Logger

	mu     sync.Mutex
	faults Faults
	shards map[key]*shard
	groups map[uint32]*group
	told   Told
}

// Told counts the lies.
type Told struct{ Gets, Proofs, Receipts, Silences int }

type key struct {
	group   uint32
	segment order.SegmentID
}

// shard is what is kept of one; data is nil once it is forgotten.
type shard struct {
	data  []byte
	size  int64
	root  merkle.Hash
	roots []merkle.Hash
	slot  int
	group *order.Group
}

// group is a group that the liar holds a slot of.
type group struct {
	record  *order.Group
	slot    int
	cursor  uint64
	live    map[uint64]order.SegmentID // by number
	numbers map[order.SegmentID]uint64
	claim   *pb.Signed
}

// New starts to listen.
func New(c Config) (*Liar, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Listen == "" {
		c.Listen = "/ip4/127.0.0.1/tcp/0"
	}
	host, err := transport.New(transport.Config{
		Key: c.Key, Listen: []string{c.Listen}, Serves: []string{wire.Protocol, wire.AuditProtocol},
	})
	if err != nil {
		return nil, err
	}
	client, err := satclient.New(host, c.Satellite, satclient.Options{})
	if err != nil {
		return nil, errors.Join(err, host.Close())
	}
	l := &Liar{
		c: c, host: host, client: client, log: c.Logger,
		shards: make(map[key]*shard), groups: make(map[uint32]*group),
	}
	host.Handle(wire.Protocol, l.serve)
	host.Handle(wire.AuditProtocol, l.serveAudits)
	return l, nil
}

// ID is who the liar is.
func (l *Liar) ID() ident.ID { return l.c.Key.ID() }

// Behave changes how the liar misbehaves.
func (l *Liar) Behave(f Faults) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = f
	for _, s := range l.shards {
		l.forget(s)
	}
}

// forget drops a shard if it is the turn of that one. l.mu is held.
func (l *Liar) forget(s *shard) {
	if s.data != nil && rand.Float64() < l.faults.Forget {
		s.data = nil
		l.told.Receipts++
	}
}

// Told says how often it has lied.
func (l *Liar) Told() Told {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.told
}

// how is how to behave now.
func (l *Liar) how() Faults {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.faults
}

// note counts a lie.
func (l *Liar) note(count func(*Told)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	count(&l.told)
}

// Run checks in until ctx is done, and then closes everything.
func (l *Liar) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		interval, err := l.checkIn(ctx)
		if err != nil && ctx.Err() == nil {
			l.log.Warn("cannot check in", "error", err)
			interval = 500 * time.Millisecond
		}
		timer := time.NewTimer(interval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	return errors.Join(l.client.Close(), l.host.Close())
}

// checkIn checks in, follows the journals and claims.
func (l *Liar) checkIn(ctx context.Context) (time.Duration, error) {
	req := &pb.CheckInRequest{Addresses: l.host.Addresses(), Capacity: 1 << 40, Free: 1 << 40, Version: "liar"}
	l.mu.Lock()
	for id, g := range l.groups {
		req.Cursors = append(req.Cursors, &pb.Cursor{Group: id, Epoch: g.record.Epoch, Seq: g.cursor})
	}
	l.mu.Unlock()
	res, err := l.client.CheckIn(ctx, req)
	if err != nil {
		return 0, err
	}
	for _, news := range res.Groups {
		if err := l.take(ctx, news); err != nil {
			return 0, fmt.Errorf("group %d: %w", news.Group, err)
		}
	}
	return time.Duration(res.IntervalMs) * time.Millisecond, l.hand(ctx)
}

// take takes in the news of a group and follows its journal.
func (l *Liar) take(ctx context.Context, news *pb.GroupNews) error {
	if news.Record != nil {
		record, err := order.OpenGroup(news.Record, l.c.Satellite.ID)
		if err != nil {
			return err
		}
		l.learn(record)
	}
	l.mu.Lock()
	g := l.groups[news.Group]
	l.mu.Unlock()
	for g != nil && g.cursor < news.Head {
		page, err := l.client.Journal(ctx, &pb.JournalRequest{Group: news.Group, After: g.cursor, Limit: 1000})
		if err != nil {
			return err
		}
		if len(page.Entries) == 0 {
			return nil
		}
		l.follow(g, page.Entries)
	}
	return nil
}

// learn notes a record: of a group that it is no longer in it forgets everything.
func (l *Liar) learn(record *order.Group) {
	l.mu.Lock()
	defer l.mu.Unlock()
	slot, ok := record.SlotOf(l.ID())
	if !ok {
		delete(l.groups, record.ID)
		return
	}
	g := l.groups[record.ID]
	if g == nil {
		g = &group{live: make(map[uint64]order.SegmentID), numbers: make(map[order.SegmentID]uint64)}
		l.groups[record.ID] = g
	}
	g.record, g.slot = record, slot
}

func (l *Liar) follow(g *group, entries []*pb.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		g.cursor = e.Seq
		id := order.SegmentID(e.Segment)
		if e.Kind == pb.EntryKind_ENTRY_KIND_LIVE {
			g.live[e.Seq], g.numbers[id] = id, e.Seq
			continue
		}
		delete(g.live, g.numbers[id])
		delete(g.numbers, id)
		delete(l.shards, key{g.record.ID, id})
	}
}

// hand signs claims and hands them in.
func (l *Liar) hand(ctx context.Context) error {
	req := &pb.ClaimRequest{}
	l.mu.Lock()
	for id, g := range l.groups {
		claim := &order.Claim{
			Node: l.ID(), Satellite: l.c.Satellite.ID, Group: id, Epoch: g.record.Epoch, Slot: g.slot,
			Seq: g.cursor, Missing: l.missing(g), Issued: time.Now().Truncate(time.Second),
		}
		signed, err := order.SignClaim(l.c.Key, claim)
		if err != nil {
			l.mu.Unlock()
			return err
		}
		g.claim = signed
		req.Claims = append(req.Claims, signed)
	}
	l.mu.Unlock()
	if len(req.Claims) == 0 {
		return nil
	}
	_, err := l.client.Claim(ctx, req)
	return err
}

// Key draws a key for a liar.
func Key() (ident.Key, error) { return ident.Generate(crand.Reader) }
