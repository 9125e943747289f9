package uplink

import (
	"sync"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
)

// Pauses after a node failed: the first, and the longest that doubling it
// leads to.
const (
	firstPause = 2 * time.Second
	lastPause  = time.Minute
)

// peers remembers which nodes failed lately, so that one transfer after
// another does not wait for the same dead node. It is safe for concurrent use.
type peers struct {
	now func() time.Time

	mu     sync.Mutex
	paused map[ident.ID]pause
}

type pause struct {
	length time.Duration
	until  time.Time
}

func newPeers(now func() time.Time) *peers {
	return &peers{now: now, paused: make(map[ident.ID]pause)}
}

// usable tells whether a node may be tried.
func (p *peers) usable(id ident.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.now().Before(p.paused[id].until)
}

// failed pauses a node, each time in a row for longer.
func (p *peers) failed(id ident.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.paused[id]
	now := p.now()
	if now.Before(was.until) {
		return // the failures of one moment count once
	}
	length := min(max(2*was.length, firstPause), lastPause)
	p.paused[id] = pause{length: length, until: now.Add(length)}
}

// worked ends what failed began.
func (p *peers) worked(id ident.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.paused, id)
}
