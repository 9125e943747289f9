package storagenode

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/storagenode/heal"
	"github.com/cairnstorage/cairn/storagenode/nodeclient"
	"github.com/cairnstorage/cairn/storagenode/scrub"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

const (
	// defaultScrub is the time in which everything is read once.
	defaultScrub = 30 * 24 * time.Hour

	// healIdle is how long a peer may keep a healer waiting before another one
	// is asked.
	healIdle = 10 * time.Second
)

// openUpkeep makes what keeps the node's shards whole.
func (n *Node) openUpkeep() (err error) {
	n.healer, err = heal.New(heal.Config{
		Node:      n.ID(),
		Satellite: n.satellite.ID,
		Store:     n.store,
		Needs:     n.needs,
		Lease:     n.leasePeers,
		Open: func(ctx context.Context, to transport.Address, lease nodeclient.Lease, patient bool) (heal.Stream, error) {
			dialer := nodeclient.Dialer{Host: n.host, Idle: healIdle, Patient: patient}
			get, err := dialer.OpenGet(ctx, to, lease)
			if err != nil {
				return nil, err
			}
			return get, nil
		},
		Report: n.reportSegment,
		Idle:   n.server.Quiet,
		Rate:   n.config.HealRate,
		Now:    n.config.Now,
		Random: rand.IntN,
		Logger: n.log,
	})
	if err != nil {
		return err
	}
	n.scrubber, err = scrub.New(scrub.Config{
		Store:  n.store,
		Period: n.config.Scrub,
		Path:   filepath.Join(n.config.Dir, "scrub.json"),
		Found:  n.lost,
		Now:    n.config.Now,
		Logger: n.log,
	})
	return err
}

// needs is what is wanted of the node's groups, as far as the satellite has told.
func (n *Node) needs() []heal.Need {
	var all []heal.Need
	for _, p := range n.parts() {
		if p.told {
			all = append(all, heal.Need{Group: p.group.ID, Slot: p.slot, Urgent: p.urgent, Successor: p.successor})
		}
	}
	return all
}

// lost is called when a shard was lost: the satellite is to know, and it is to be
// made again.
func (n *Node) lost() {
	n.claims.lost()
	n.healer.Wake()
}

func (n *Node) leasePeers(ctx context.Context, group uint32) (*pb.GroupLease, error) {
	res, err := n.client.Peers(ctx, &pb.PeersRequest{Group: group})
	return res.GetLease(), err
}

func (n *Node) reportSegment(ctx context.Context, group uint32, m shardstore.Missing) error {
	_, err := n.client.ReportSegment(ctx, &pb.ReportSegmentRequest{Group: group, Seq: m.Seq, Segment: m.Segment[:]})
	return err
}

// healing is how the making of lost shards goes, for the operator.
func (n *Node) healing() (*pb.Healing, error) {
	p := n.healer.Progress()
	left, err := n.toHeal()
	if err != nil {
		return nil, err
	}
	m := &pb.Healing{
		Shards: uint64(p.Shards), Written: uint64(p.Written), Read: uint64(p.Read),
		Failed: uint64(p.Failed), Bad: uint64(p.Bad), Active: uint64(p.Active),
		Left: uint64(left), Rate: uint64(n.pace.rate()),
	}
	if m.Rate > 0 {
		m.Seconds = m.Left / m.Rate
	}
	return m, nil
}

// toHeal is the bytes of the shards that are missing.
func (n *Node) toHeal() (bytes int64, err error) {
	for _, p := range n.parts() {
		err := n.store.Missing(p.group.ID, func(m shardstore.Missing) bool {
			bytes += m.Size / int64(p.group.Scheme.Required)
			return true
		})
		if err != nil {
			return 0, err
		}
	}
	return bytes, nil
}

// A pace is how fast a count has grown of late. It is safe for concurrent use.
type pace struct {
	mu      sync.Mutex
	samples []sample // ascending in time, no more than a minute of them and one
}

type sample struct {
	at    time.Time
	count int64
}

const paceWindow = time.Minute

// note takes a sample.
func (p *pace) note(at time.Time, count int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.samples = append(p.samples, sample{at, count})
	for len(p.samples) > 2 && at.Sub(p.samples[1].at) >= paceWindow {
		p.samples = p.samples[1:]
	}
}

// rate is the growth a second over the samples there are.
func (p *pace) rate() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.samples) < 2 {
		return 0
	}
	first, last := p.samples[0], p.samples[len(p.samples)-1]
	if took := last.at.Sub(first.at).Seconds(); took > 0 {
		return float64(last.count-first.count) / took
	}
	return 0
}

// scrubbing is how the reading of all shards goes, for the operator.
func (n *Node) scrubbing() *pb.Scrubbing {
	p := n.scrubber.Progress()
	return &pb.Scrubbing{
		Shards: uint64(p.Shards), Bytes: uint64(p.Bytes), Damaged: uint64(p.Damaged), Unreadable: uint64(p.Unreadable),
		Began: unixOrZero(p.Began), Finished: unixOrZero(p.Finished),
	}
}

func unixOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
