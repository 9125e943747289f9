package storagenode

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
)

const (
	callTimeout = 15 * time.Second // of one call to the satellite

	maxCursors = 1024 // in a check-in

	minInterval     = 100 * time.Millisecond // between check-ins, whatever the satellite says
	maxInterval     = time.Minute
	defaultInterval = 3 * time.Second

	troubleSatellite = "satellite"
	troubleClock     = "clock"
)

// satelliteClient is what a node asks of its satellite; satclient.Client does it.
type satelliteClient interface {
	CheckIn(context.Context, *pb.CheckInRequest) (*pb.CheckInResponse, error)
	Journal(context.Context, *pb.JournalRequest) (*pb.JournalResponse, error)
	Contest(context.Context, *pb.ContestRequest) (*pb.ContestResponse, error)
	Claim(context.Context, *pb.ClaimRequest) (*pb.ClaimResponse, error)
	Peers(context.Context, *pb.PeersRequest) (*pb.PeersResponse, error)
	ReportSegment(context.Context, *pb.ReportSegmentRequest) (*pb.ReportSegmentResponse, error)
	Exit(context.Context, *pb.ExitRequest) (*pb.ExitResponse, error)
	Close() error
}

// news is what a check-in has brought for the follower.
type news struct {
	asked   time.Time     // before the call was made
	ahead   time.Duration // of this node's clock before the satellite's; negative if it is behind
	staging time.Duration
	heads   map[uint32]uint64
}

// A newsBox holds the latest news that the follower has not yet taken.
type newsBox struct {
	mu     sync.Mutex
	latest *news
	full   chan struct{}
}

func newNewsBox() *newsBox { return &newsBox{full: make(chan struct{}, 1)} }

func (b *newsBox) put(n *news) {
	b.mu.Lock()
	b.latest = n
	b.mu.Unlock()
	select {
	case b.full <- struct{}{}:
	default:
	}
}

func (b *newsBox) take() *news {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.latest
	b.latest = nil
	return n
}

// checkInLoop checks in as often as the satellite wants it, and goes on trying
// when it cannot be reached: the node serves all the same.
func (n *Node) checkInLoop(ctx context.Context, box *newsBox) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 500*time.Millisecond, 5*time.Second
	failing := false
	for ctx.Err() == nil {
		interval, err := n.checkIn(ctx, box)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if !failing {
				n.log.Warn("cannot check in with the satellite; the node goes on and retries", "error", err)
			}
			interval = pause.NextBackOff()
		case failing:
			n.log.Info("the satellite is reachable again")
			fallthrough
		default:
			pause.Reset()
		}
		failing = err != nil
		n.setTrouble(troubleSatellite, err)
		wait(ctx, interval)
	}
}

// wait returns when d is over or ctx is done.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// checkIn tells the satellite how the node is and takes in the news.
func (n *Node) checkIn(ctx context.Context, box *newsBox) (time.Duration, error) {
	asked := n.config.Now()
	req, err := n.report()
	if err != nil {
		return 0, err
	}
	res, err := n.client.CheckIn(ctx, req)
	if err != nil {
		return 0, err
	}
	answered := n.config.Now()
	heads, err := n.takeNews(answered, res)
	if err != nil {
		return 0, err
	}
	if res.Departure != nil {
		n.setTrouble(troubleDeparture, n.depart(res.Departure))
	}
	ahead := clockAhead(asked, answered, time.Unix(res.Now, 0))
	n.setTrouble(troubleClock, clockTrouble(ahead))
	n.claims.checkedIn()
	n.pace.note(answered, n.healer.Progress().Written)
	n.healer.Wake()
	box.put(&news{asked: asked, ahead: ahead, staging: time.Duration(res.Staging) * time.Second, heads: heads})
	interval := time.Duration(res.IntervalMs) * time.Millisecond
	if interval == 0 {
		interval = defaultInterval
	}
	return min(max(interval, minInterval), maxInterval), nil
}

// takeNews takes in what the satellite says of the node and its groups. It returns
// the heads of the journals to be followed.
func (n *Node) takeNews(at time.Time, res *pb.CheckInResponse) (heads map[uint32]uint64, err error) {
	groups := make(map[uint32]groupNews, len(res.Groups))
	for _, g := range res.Groups {
		if err := n.takeRecord(g); err != nil {
			return nil, err
		}
		said, err := newsOf(g)
		if err != nil {
			n.log.Warn("cannot read what is urgent of a group", "group", g.Group, "error", err)
		}
		groups[g.Group] = said
	}
	n.view.take(at, res.Standing, groups)
	heads = make(map[uint32]uint64)
	for _, p := range n.parts() {
		if p.told {
			heads[p.group.ID] = p.end
		}
	}
	return heads, nil
}

// clockAhead is by how much at least this node's clock is ahead of the
// satellite's, which said it was now, in whole seconds, between two times here.
func clockAhead(asked, answered, now time.Time) time.Duration {
	switch {
	case asked.After(now.Add(time.Second)):
		return asked.Sub(now.Add(time.Second))
	case answered.Before(now):
		return answered.Sub(now)
	}
	return 0
}

// clockTrouble is an error when the clock is so wrong that nobody takes what the
// node signs, or it refuses what it should take.
func clockTrouble(ahead time.Duration) error {
	if ahead.Abs() <= order.Skew {
		return nil
	}
	which := "ahead of"
	if ahead < 0 {
		which = "behind"
	}
	return fmt.Errorf("this machine's is %v %s the satellite's, and nothing can be put here while they differ by more than %v: set it right",
		ahead.Abs().Round(time.Second), which, order.Skew)
}

// report is what a check-in says.
func (n *Node) report() (*pb.CheckInRequest, error) {
	cursors, err := n.cursors()
	if err != nil {
		return nil, err
	}
	u := n.store.Usage()
	return &pb.CheckInRequest{
		Addresses: n.host.Addresses(),
		Capacity:  uint64(u.Capacity),
		Used:      uint64(u.Used),
		Free:      uint64(u.Free),
		Version:   n.config.Version,
		Operator:  n.config.Operator,
		Cursors:   cursors,
		Impaired:  !n.store.Whole(),
	}, nil
}

// cursors say how far the journals of the node's groups were followed, and of
// those whose records it does not know.
func (n *Node) cursors() ([]*pb.Cursor, error) {
	var all []*pb.Cursor
	for _, p := range n.parts() {
		all = append(all, &pb.Cursor{Group: p.group.ID, Epoch: p.group.Epoch})
	}
	n.mu.Lock()
	for _, group := range n.strays {
		if _, known := n.state.epoch(group); !known {
			all = append(all, &pb.Cursor{Group: group})
		}
	}
	n.mu.Unlock()
	all = all[:min(len(all), maxCursors)]
	for _, c := range all {
		var err error
		if c.Seq, err = n.store.Cursor(c.Group); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// takeRecord remembers the group record in the news, if there is one.
func (n *Node) takeRecord(g *pb.GroupNews) error {
	if g.Record == nil {
		return nil
	}
	group, err := order.OpenGroup(g.Record, n.satellite.ID)
	if err != nil {
		return fmt.Errorf("record of group %d from the satellite: %w", g.Group, err)
	}
	return n.state.learn(g.Record, group)
}
