package transport

import (
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/x/rate"

	"github.com/cairnstorage/cairn/proto/mux"
)

const (
	connsPerPeer = 8       // a peer needs one; two dials may cross, and QUIC may stand beside TCP
	spareStreams = 16      // beside those of a peer that are served: they are told that there are too many
	peerMemory   = 1 << 29 // receive windows of one peer
	strangers    = 64      // connections of one address not yet authenticated; loopback is free
	transient    = 2048    // those of all
)

// newResourceManager bounds what all peers, and each of them, may take. The
// limits libp2p would choose allow 8 connections per IPv4 address, which breaks
// clusters on one machine and customers behind carrier NAT.
func newResourceManager(c Config) (network.ResourceManager, error) {
	conns, streams := rcmgr.LimitVal(c.MaxConns), rcmgr.LimitVal(c.MaxStreams)
	perPeer := rcmgr.LimitVal(c.MaxStreamsPerPeer + spareStreams)
	limits := rcmgr.PartialLimitConfig{
		System: rcmgr.ResourceLimits{
			Conns: 2 * conns, ConnsInbound: conns, ConnsOutbound: conns, FD: 2 * conns,
			Streams: rcmgr.Unlimited, StreamsInbound: streams + spareStreams*conns, StreamsOutbound: rcmgr.Unlimited,
			Memory: rcmgr.LimitVal64(c.MaxMemory),
		},
		Transient: rcmgr.ResourceLimits{
			Conns: transient, ConnsInbound: transient, ConnsOutbound: transient, FD: transient,
			Streams: rcmgr.Unlimited, StreamsInbound: streams, StreamsOutbound: rcmgr.Unlimited,
			Memory: rcmgr.LimitVal64(c.MaxMemory),
		},
		PeerDefault: rcmgr.ResourceLimits{
			Conns: 2 * connsPerPeer, ConnsInbound: connsPerPeer, ConnsOutbound: connsPerPeer, FD: 2 * connsPerPeer,
			Streams: rcmgr.Unlimited, StreamsInbound: perPeer, StreamsOutbound: rcmgr.Unlimited,
			Memory: rcmgr.LimitVal64(min(c.MaxMemory, peerMemory)),
		},
	}
	inner, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits.Build(rcmgr.InfiniteLimits)),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: c.MaxConnsPerIP}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: c.MaxConnsPerIP}}),
		rcmgr.WithConnRateLimiters(newRateLimiter(c)))
	if err != nil {
		return nil, err
	}
	return &doorkeeper{ResourceManager: inner, waiting: make(map[netip.Prefix]int)}, nil
}

// pledge counts the receive window of an inbound stream, of which the multiplexer
// counts no more than the beginning, against what its peer and all may take.
func (c Config) pledge(s network.Stream) error {
	return s.Scope().ReserveMemory(c.Window-mux.LeastWindow, network.ReservationPriorityAlways)
}

// newRateLimiter bounds how fast one address may connect: a handshake costs
// milliseconds of CPU.
func newRateLimiter(c Config) *rate.Limiter {
	each := rate.Limit{RPS: 50, Burst: c.MaxConnsPerIP}
	return &rate.Limiter{
		NetworkPrefixLimits: []rate.PrefixLimit{
			{Prefix: netip.MustParsePrefix("127.0.0.0/8")},
			{Prefix: netip.MustParsePrefix("::1/128")},
		},
		SubnetRateLimiter: rate.SubnetLimiter{
			IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: each}},
			IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: each}},
			GracePeriod:      time.Minute,
		},
	}
}

// newConnManager closes the least used connections before there are so many
// that new ones would be refused.
func newConnManager(c Config) (*connmgr.BasicConnMgr, error) {
	return connmgr.NewConnManager(max(1, c.MaxConns*3/4), max(1, c.MaxConns*9/10))
}

// FarWindow is a Config.Window for who fetches much over long lines. The sender
// is told of what was read once that is half a window, so the other half is what
// a line carries in a round-trip time: 20 MB/s at 100 ms.
const FarWindow = 4 << 20
