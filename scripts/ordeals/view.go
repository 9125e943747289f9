package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairnstorage/cairn/proto/observe/scrape"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/wire"
)

// A view is what the satellite says of the groups beside what the nodes say that
// they hold. Neither has to be believed: whether data is whole is told by the
// number of shards on the disks.
type view struct {
	groups []*pb.GroupInfo
	infos  map[int]*pb.InfoResponse // of the nodes that run, by number; nil for others
	nodes  map[string]int           // their numbers, by identity

	vacant  int    // slots whose holder does not run
	missing uint64 // shards that running holders do not hold
}

// whole reports whether every slot of every group holds every shard.
func (v *view) whole() bool { return v.vacant == 0 && v.missing == 0 && len(v.groups) > 0 }

// String says what is missing, and at a few nodes where.
func (v *view) String() string {
	text := fmt.Sprintf("%d slots without a running holder, %d shards missing at the others", v.vacant, v.missing)
	const enough = 5
	told := 0
	for _, i := range slices.Sorted(maps.Keys(v.infos)) {
		for _, g := range v.infos[i].GetGroups() {
			if g.Missing > 0 && told < enough {
				told++
				text += fmt.Sprintf("; %d of group %d at node %d", g.Missing, g.Group, i)
			}
		}
	}
	return text
}

// look takes a view.
func (l *lab) look(ctx context.Context) (*view, error) {
	v := &view{infos: make(map[int]*pb.InfoResponse), nodes: make(map[string]int)}
	for _, i := range l.running() {
		info, err := l.net.NodeInfo(ctx, i)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.net.Nodes[i].Name, err)
		}
		v.infos[i], v.nodes[string(info.Id)] = info, i
	}
	err := l.net.Admin(ctx, func(c pb.AdminClient) error {
		res, err := c.ListGroups(ctx, &pb.ListGroupsRequest{})
		v.groups = res.GetGroups()
		return err
	})
	if err != nil {
		return nil, err
	}
	v.compare()
	return v, nil
}

// compare counts what is missing.
func (v *view) compare() {
	wanted := make(map[int]uint64)
	for _, g := range v.groups {
		for _, id := range g.Nodes {
			if i, ok := v.nodes[string(id)]; ok {
				wanted[i] += g.Segments
			} else {
				v.vacant++
			}
		}
	}
	for i, n := range wanted {
		v.missing += n - min(n, v.infos[i].Shards-v.infos[i].Staged)
	}
}

// segments is how many segments each group has.
func (v *view) segments() map[uint32]uint64 {
	all := make(map[uint32]uint64)
	for _, g := range v.groups {
		all[g.Group] = g.Segments
	}
	return all
}

// covered is how many slots of a group have a holder that runs and holds what
// the group had when there were so many segments in it, as far as the holder has
// followed the journal: in the group with the fewest. A holder may lack as many
// as have come since. Nothing may have been deleted.
func (v *view) covered(then map[uint32]uint64) int {
	lowest := -1
	for _, g := range v.groups {
		full, since := 0, g.Segments-min(g.Segments, then[g.Group])
		for _, id := range g.Nodes {
			if i, ok := v.nodes[string(id)]; ok && lacksAtMost(v.infos[i], g.Group, since) {
				full++
			}
		}
		if lowest < 0 || full < lowest {
			lowest = full
		}
	}
	return max(lowest, 0)
}

func lacksAtMost(info *pb.InfoResponse, group uint32, most uint64) bool {
	for _, g := range info.Groups {
		if g.Group == group {
			return g.Missing <= most
		}
	}
	return false
}

// slotsOf calls do with each group that a node holds a slot of.
func (v *view) slotsOf(i int, do func(g *pb.GroupInfo)) {
	for _, g := range v.groups {
		for _, id := range g.Nodes {
			if n, ok := v.nodes[string(id)]; ok && n == i {
				do(g)
			}
		}
	}
}

// awaitWhole waits until every slot holds all of its shards, and tells how it
// goes on every few seconds.
func (l *lab) awaitWhole(ctx context.Context) error {
	const every = 5 * time.Second
	told, last := time.Now(), ""
	return l.await(ctx, "redundancy is not full", func() (bool, error) {
		v, err := l.look(ctx)
		if err != nil {
			return false, err
		}
		if text := v.String(); text != last && time.Since(told) >= every {
			told, last = time.Now(), text
			l.report.say("%s", text)
		}
		return v.whole(), errors.New(v.String())
	})
}

// awaitHolders waits until every slot has a holder that runs.
func (l *lab) awaitHolders(ctx context.Context) error {
	return l.await(ctx, "slots are without a holder that runs", func() (bool, error) {
		v, err := l.look(ctx)
		if err != nil {
			return false, err
		}
		return v.vacant == 0, errors.New(v.String())
	})
}

// awaitSafe waits until every slot has a holder that runs, and nothing is held by
// so few that it has to be repaired: a network that loses more meanwhile loses
// data.
func (l *lab) awaitSafe(ctx context.Context) error {
	return l.await(ctx, "what was lost is not made up for", func() (bool, error) {
		v, err := l.look(ctx)
		if err != nil {
			return false, err
		}
		lowest := l.scheme.Total
		for _, g := range v.groups {
			if g.Found == nil {
				lowest = 0
			} else if g.Segments > 0 {
				lowest = min(lowest, int(g.Found.Lowest))
			}
		}
		return v.vacant == 0 && lowest >= l.scheme.RepairBelow, fmt.Errorf("%v; %d slots hold what the fewest hold", v, lowest)
	})
}

// nodes are all that the satellite knows.
func (l *lab) nodes(ctx context.Context) (nodes []*pb.NodeInfo, err error) {
	err = l.net.Admin(ctx, func(c pb.AdminClient) error {
		res, err := c.ListNodes(ctx, &pb.ListNodesRequest{})
		nodes = res.GetNodes()
		return err
	})
	return nodes, err
}

// counts are what the daemons that run have counted since they were started.
type counts struct {
	satellite *scrape.Metrics
	nodes     map[int]*scrape.Metrics
	healing   map[int]*pb.Healing
}

// count asks everybody.
func (l *lab) count(ctx context.Context) (counts, error) {
	c := counts{nodes: make(map[int]*scrape.Metrics), healing: make(map[int]*pb.Healing)}
	var err error
	if c.satellite, err = scrapeOf(ctx, l.net.Satellite); err != nil {
		return c, err
	}
	for _, i := range l.running() {
		info, err := l.net.NodeInfo(ctx, i)
		if err == nil {
			c.nodes[i], err = scrapeOf(ctx, l.net.Nodes[i])
		}
		if err != nil {
			return c, fmt.Errorf("%s: %w", l.net.Nodes[i].Name, err)
		}
		c.healing[i] = info.Healing
	}
	return c, nil
}

// healed is what all nodes have healed since before: shards, and the bytes they
// were made from. A node that has done less than before was started anew.
func (c counts) healed(before counts) (shards, read uint64) {
	for i, h := range c.healing {
		then := before.healing[i]
		if then == nil || then.Shards > h.Shards || then.Read > h.Read {
			then = &pb.Healing{}
		}
		shards += h.Shards - then.Shards
		read += h.Read - then.Read
	}
	return shards, read
}

// moved is how many bytes nodes have taken in or sent, by the protocol, since
// before: as their transports count them, with all that goes around payload.
func (c counts) moved(before counts, protocol, direction string) (sum float64) {
	for i, m := range c.nodes {
		now := m.Sum("cairn_node_network_bytes_total", "protocol", protocol, "direction", direction)
		if then := before.nodes[i]; then != nil {
			now -= min(now, then.Sum("cairn_node_network_bytes_total", "protocol", protocol, "direction", direction))
		}
		sum += now
	}
	return sum
}

// payload is how many bytes the satellite has moved over shard streams.
func (c counts) payload() float64 {
	return c.satellite.Sum("cairn_satellite_network_bytes_total", "protocol", wire.Protocol)
}

// spoken is how many bytes the satellite has moved in all.
func (c counts) spoken() float64 { return c.satellite.Sum("cairn_satellite_network_bytes_total") }

// verify has the satellite compare its metadata with what nodes hold.
func (l *lab) verify(ctx context.Context) error {
	l.report.say("satellite verify")
	out, err := l.net.SatelliteCommand(ctx, "verify", "-o", "json")
	var found struct {
		Differences []json.RawMessage `json:"differences"`
	}
	if parse := json.Unmarshal(out, &found); parse != nil {
		return errors.Join(err, fmt.Errorf("satellite verify: %w", parse))
	}
	for _, d := range found.Differences[:min(5, len(found.Differences))] {
		l.report.fail("%s", d)
	}
	l.report.must(err == nil && len(found.Differences) == 0, "differences that satellite verify finds", float64(len(found.Differences)), "", "0")
	return nil
}

// underReads does something while objects are being read, and demands that
// every read is right.
func (l *lab) underReads(ctx context.Context, parallel int, do func(context.Context) error) error {
	var r reads
	reading, stop := context.WithCancel(ctx)
	var tasks errgroup.Group
	tasks.Go(func() error {
		l.data.keepReading(reading, l.project, parallel, &r)
		return nil
	})
	err := do(ctx)
	stop()
	tasks.Wait()
	l.report.addReads("reads meanwhile", &r)
	return err
}

// addReads puts reads that must all be right into the report.
func (r *Report) addReads(what string, reads *reads) {
	r.must(reads.Tried > 0, what, float64(reads.Tried), "", "some")
	r.must(reads.Failed == 0, what+" that failed", float64(reads.Failed), "", "0")
	r.must(reads.Wrong == 0, what+" with wrong bytes", float64(reads.Wrong), "", "0")
	r.add(what+", slowest", reads.Slowest.Seconds(), "s")
	for _, err := range reads.Errors {
		r.fail("%s", err)
	}
}
