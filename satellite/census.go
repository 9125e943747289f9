package satellite

import (
	"context"
	"math"
	"time"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/meta"
)

// A census is what the satellite sees of its nodes over time: how long they held
// slots, and how many of them failed. Durability is estimated from it.
type census struct {
	looked time.Time // up to when failures were counted
	hour   time.Time // when hours were counted last
}

// takeCensus counts what there is to count since the last time. What happens
// around a restart may go uncounted; nothing is counted twice.
func (s *Satellite) takeCensus(ctx context.Context) error {
	now := s.now()
	c := &s.census
	if c.looked.IsZero() {
		c.looked, c.hour = now, now
	}
	var more meta.Census
	hours := uint32(max(now.Sub(c.hour)/time.Hour, 0))
	for _, n := range s.registry.view() {
		if hours > 0 && len(s.groups.of(n.ID)) > 0 {
			more.Hours += hours
		}
		if failed(n.standing.State) && n.standing.Since.After(c.looked) {
			more.Failures++
		}
	}
	c.looked = now
	c.hour = c.hour.Add(time.Duration(hours) * time.Hour)
	return s.meta.AddCensus(ctx, more)
}

// failed tells the states in which a node's slots are given to others because
// it failed.
func failed(s audit.State) bool { return s == audit.Suspended || s == audit.Disqualified }

// rebuilt counts the slots that are whole at this look and were not at the one
// before, and how long their holders took.
func (r *repairer) rebuilt(l *look) (c meta.Census) {
	for k := range r.progress {
		if l.rebuilding[k] {
			continue
		}
		g, err := r.groups.get(k.Group)
		if err != nil || g.Nodes[k.Slot] != k.Node || g.seat(k.Slot).Since.IsZero() {
			continue // it was given to another, or taken over in good order
		}
		c.Rebuilt++
		c.Seconds += uint32(max(l.now.Sub(g.seat(k.Slot).Since)/time.Second, 1))
		c.Megabytes += uint32(int64(l.journals[k.Group].Bytes) / int64(g.Scheme.Required) / 1e6)
	}
	return c
}

// short is the share of what a scheme's groups hold that lacks shards, as they
// were found at the last look.
func (r *repairer) short(scheme string) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all, short uint64
	for id, c := range r.found {
		g, err := r.groups.get(id)
		if err != nil || g.Scheme.String() != scheme {
			continue
		}
		for covered, numbers := range c.Covered {
			all += numbers
			if covered < g.Scheme.Total {
				short += numbers
			}
		}
	}
	if all == 0 {
		return 0
	}
	return float64(short) / float64(all)
}

// Durability implements pb.AdminServer: what was measured, for an estimate.
func (s *adminServer) Durability(ctx context.Context, _ *pb.DurabilityRequest) (*pb.DurabilityResponse, error) {
	c, err := s.meta.Census(ctx)
	if err != nil {
		return nil, err
	}
	all, err := s.meta.Groups(ctx)
	if err != nil {
		return nil, err
	}
	m := &pb.DurabilityResponse{
		NodeHours: c.Hours, Failures: c.Failures, Grace: s.config.OfflineGrace.Seconds(),
		Rebuilt: c.Rebuilt, RebuildSeconds: c.Seconds, RebuildMegabytes: c.Megabytes,
	}
	byName := make(map[string]*pb.SchemeUse)
	nodes := make(map[string]map[string]bool)
	for i := range all {
		g, err := s.groups.get(all[i].ID)
		if err != nil {
			continue // formed this moment
		}
		name := g.Scheme.String()
		u := byName[name]
		if u == nil {
			u = &pb.SchemeUse{Scheme: name}
			byName[name], nodes[name] = u, make(map[string]bool)
			m.Schemes = append(m.Schemes, u)
		}
		u.Groups++
		u.Segments += all[i].Segments
		u.SlotBytes += all[i].Bytes / uint64(g.Scheme.Required)
		for _, id := range g.Nodes {
			nodes[name][string(id[:])] = true
		}
	}
	for name, u := range byName {
		u.Nodes = uint32(min(len(nodes[name]), math.MaxUint32))
		u.SlotBytes /= uint64(u.Groups)
		u.ShortShare = s.repairer.short(name)
	}
	return m, nil
}
