package satellite

import (
	"context"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

const (
	// maxSettling bounds how long writes wait after a start.
	maxSettling = 15 * time.Second
	// longGone is how much earlier than others a node was last seen that is not
	// waited for.
	longGone = 10 * time.Minute
)

// settling is the time after a start in which nothing is written to journals.
// A store that was rolled back does not know it, but its nodes do: what it wrote
// before they say so would get numbers that they have dealt with. So writes
// wait until every node has come whose journals have entries, and was not ahead
// of them, or until there was time enough for it to object.
type settling struct {
	over chan struct{}
	end  func()

	mu      sync.Mutex
	awaited map[ident.ID]bool
}

func newSettling(awaited map[ident.ID]bool) *settling {
	s := &settling{over: make(chan struct{}), awaited: awaited}
	s.end = sync.OnceFunc(func() { close(s.over) })
	if len(awaited) == 0 {
		s.end()
	}
	return s
}

// came notes a node that agrees with the journals.
func (s *settling) came(id ident.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.awaited, id); len(s.awaited) == 0 {
		s.end()
	}
}

// done says whether writes may begin.
func (s *settling) done() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

// wait returns when writes may begin, or with the error of ctx.
func (s *settling) wait(ctx context.Context) error {
	select {
	case <-s.over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settle begins the settling.
func (s *Satellite) settle(ctx context.Context) error {
	known, err := s.meta.Groups(ctx)
	if err != nil {
		return err
	}
	var newest time.Time
	seen := make(map[ident.ID]time.Time)
	for _, n := range s.registry.view() {
		seen[n.ID] = n.LastSeen
		if n.LastSeen.After(newest) {
			newest = n.LastSeen
		}
	}
	awaited := make(map[ident.ID]bool)
	for i := range known {
		if known[i].Head == 0 {
			continue
		}
		g, err := s.groups.get(known[i].ID)
		if err != nil {
			return err
		}
		for _, id := range g.Nodes {
			if last, ok := seen[id]; ok && newest.Sub(last) <= longGone {
				awaited[id] = true
			}
		}
	}
	s.settling = newSettling(awaited)
	return nil
}

// ready returns nil once writes are taken, at the latest soon after a start, or
// why they are not (satclient.ErrRefusing, satclient.ErrUnavailable).
func (s *Satellite) ready(ctx context.Context) error {
	if err := s.refusing(); err != nil {
		return err
	}
	if err := s.settling.wait(ctx); err != nil {
		return satclient.ErrUnavailable
	}
	return s.refusing()
}
