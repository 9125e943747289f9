package transport

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// Stats is what a Host has to do at one moment, and what it has moved since New.
type Stats struct {
	Connections int
	Streams     int // that peers opened and Handle's functions serve
	Traffic     []Traffic
}

// Traffic is the bytes of one protocol's streams, before encryption, in both
// directions.
type Traffic struct {
	Protocol string // "" while a stream's is being agreed on
	In, Out  uint64
}

// Stats says how busy the Host is, with the protocols in order.
func (h *Host) Stats() Stats {
	h.mu.Lock()
	streams := h.total
	h.mu.Unlock()
	return Stats{Connections: len(h.node.Conns()), Streams: streams, Traffic: h.traffic.all()}
}

// traffic counts bytes by protocol: those that this party speaks, so they are
// few. It does not count by peer, of whom there may be any number.
type traffic struct {
	flows atomic.Pointer[map[protocol.ID]*flow] // never changed, but replaced
	mu    sync.Mutex                            // held to replace it
}

type flow struct{ in, out atomic.Uint64 }

func newTraffic() *traffic {
	t := &traffic{}
	t.flows.Store(&map[protocol.ID]*flow{})
	return t
}

func (t *traffic) of(proto protocol.ID) *flow {
	if f := (*t.flows.Load())[proto]; f != nil {
		return f
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	known := *t.flows.Load()
	if f := known[proto]; f != nil {
		return f
	}
	more := maps.Clone(known)
	more[proto] = &flow{}
	t.flows.Store(&more)
	return more[proto]
}

func (t *traffic) all() []Traffic {
	var list []Traffic
	for proto, f := range *t.flows.Load() {
		list = append(list, Traffic{Protocol: string(proto), In: f.in.Load(), Out: f.out.Load()})
	}
	slices.SortFunc(list, func(a, b Traffic) int { return cmp.Compare(a.Protocol, b.Protocol) })
	return list
}

// What follows makes traffic the metrics.Reporter of libp2p, which tells it of
// every read and write.

func (t *traffic) LogSentMessageStream(n int64, proto protocol.ID, _ peer.ID) {
	t.of(proto).out.Add(uint64(n))
}

func (t *traffic) LogRecvMessageStream(n int64, proto protocol.ID, _ peer.ID) {
	t.of(proto).in.Add(uint64(n))
}

func (t *traffic) LogSentMessage(int64) {} // the same bytes as above
func (t *traffic) LogRecvMessage(int64) {}

func (t *traffic) GetBandwidthForProtocol(proto protocol.ID) metrics.Stats {
	return t.GetBandwidthByProtocol()[proto]
}

func (t *traffic) GetBandwidthByProtocol() map[protocol.ID]metrics.Stats {
	by := make(map[protocol.ID]metrics.Stats)
	for _, f := range t.all() {
		by[protocol.ID(f.Protocol)] = metrics.Stats{TotalIn: int64(f.In), TotalOut: int64(f.Out)}
	}
	return by
}

func (t *traffic) GetBandwidthTotals() (sum metrics.Stats) {
	for _, f := range t.all() {
		sum.TotalIn += int64(f.In)
		sum.TotalOut += int64(f.Out)
	}
	return sum
}

func (t *traffic) GetBandwidthForPeer(peer.ID) metrics.Stats     { return metrics.Stats{} }
func (t *traffic) GetBandwidthByPeer() map[peer.ID]metrics.Stats { return nil }
func (t *traffic) Reset()                                        {}
func (t *traffic) TrimIdle(time.Time)                            {}
