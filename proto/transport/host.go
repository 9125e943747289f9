package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	mss "github.com/multiformats/go-multistream"
	"golang.org/x/sync/singleflight"

	"github.com/cairnstorage/cairn/proto/ident"
)

// A Host is a party on the network.
type Host struct {
	config  Config
	id      ident.ID
	node    *node
	ctx     context.Context // until Close
	cancel  context.CancelFunc
	dials   singleflight.Group
	serves  sync.WaitGroup
	traffic *traffic

	mu      sync.Mutex
	streams map[ident.ID]int     // being served
	from    map[netip.Prefix]int // of them, from one address; loopback is not counted
	total   int
	dialing map[peer.ID]bool
}

// New starts a party. It fails if any address in c.Listen cannot be had.
func New(c Config) (*Host, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	listen, err := parseAll(c.Listen)
	if err != nil {
		return nil, err
	}
	traffic := newTraffic()
	inner, err := newNode(c, traffic)
	if err != nil {
		return nil, err
	}
	h := &Host{
		config: c, id: c.Key.ID(), node: inner, traffic: traffic,
		streams: make(map[ident.ID]int), from: make(map[netip.Prefix]int), dialing: make(map[peer.ID]bool),
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.onDisconnect(h.forget)
	// One by one: libp2p itself would be content if any of them can be had.
	for _, addr := range listen {
		if err := inner.Listen(addr); err != nil {
			h.Close()
			return nil, fmt.Errorf("transport: listen on %s: %w", addr, cause(err))
		}
	}
	return h, nil
}

// rankTCPFirst dials TCP at once and QUIC, which costs four times the CPU, only
// if that has not answered soon.
func rankTCPFirst(addrs []ma.Multiaddr) []network.AddrDelay {
	ranked := make([]network.AddrDelay, len(addrs))
	hasTCP := slices.ContainsFunc(addrs, isTCP)
	for i, addr := range addrs {
		ranked[i].Addr = addr
		if hasTCP && !isTCP(addr) {
			ranked[i].Delay = 300 * time.Millisecond
		}
	}
	return ranked
}

func isTCP(addr ma.Multiaddr) bool {
	_, err := addr.ValueForProtocol(ma.P_TCP)
	return err == nil
}

// ID is who this party is.
func (h *Host) ID() ident.ID { return h.id }

// Addresses are the multiaddrs that others may reach this party at, each ending
// in /p2p/ID.
func (h *Host) Addresses() []string {
	var all []string
	for _, addr := range h.node.addresses() {
		bare, _ := peer.SplitAddr(addr)
		all = append(all, Address{ID: h.id, Addrs: []string{bare.String()}}.String())
	}
	return all
}

// Close ends all connections and waits for the stream handlers to return.
func (h *Host) Close() error {
	h.cancel()
	err := h.node.Close()
	h.serves.Wait()
	return err
}

// Connect makes sure there is a connection to the party at to. Those that ask at
// the same time share one dial. Failure is ErrUnreachable, the error of ctx or ErrClosed.
func (h *Host) Connect(ctx context.Context, to Address) error {
	if h.Connected(to.ID) {
		return nil
	}
	dialed := h.dials.DoChan(string(to.ID[:]), func() (any, error) { return nil, h.dial(to) })
	select {
	case result := <-dialed:
		return result.Err
	case <-ctx.Done():
		return fmt.Errorf("peer %s: %w", to.ID.Short(), ctx.Err())
	}
}

// dial runs once per peer at a time, apart from the context of any caller.
func (h *Host) dial(to Address) error {
	if h.ctx.Err() != nil {
		return ErrClosed
	}
	addrs, err := to.multiaddrs()
	if err != nil {
		return err
	}
	who := toPeer(to.ID)
	h.expect(who, addrs)
	defer h.expect(who, nil)
	h.node.Backoff().Clear(who) // how often to retry is the caller's choice
	ctx, cancel := context.WithTimeout(h.ctx, 2*h.config.DialTimeout)
	defer cancel()
	if _, err := h.node.DialPeer(ctx, who); err != nil {
		if h.ctx.Err() != nil {
			return ErrClosed
		}
		return explainDial(to, err)
	}
	return nil
}

// expect says where a peer is to be dialed: there and nowhere else, since of old
// addresses some belong to others by now. Without addrs the dial is over.
func (h *Host) expect(who peer.ID, addrs []ma.Multiaddr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.node.Peerstore().ClearAddrs(who)
	if h.dialing[who] = addrs != nil; !h.dialing[who] {
		delete(h.dialing, who)
		return
	}
	h.node.Peerstore().AddAddrs(who, addrs, peerstore.TempAddrTTL)
}

// forget keeps nothing about a peer that is gone, and is not being dialed again.
func (h *Host) forget(who peer.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.dialing[who] {
		h.node.Peerstore().ClearAddrs(who)
		h.node.Peerstore().RemovePeer(who)
	}
}

// Open opens a stream, over the connection there is or a new one. It does not
// wait for the peer to agree on the protocol: a peer that does not speak it
// shows as ErrProtocol at a Read. ctx bounds the opening alone.
func (h *Host) Open(ctx context.Context, to Address, proto string) (*Stream, error) {
	var raw network.Stream
	for attempt := 0; ; attempt++ {
		if err := h.Connect(ctx, to); err != nil {
			return nil, err
		}
		var err error
		raw, err = h.node.NewStream(network.WithNoDial(ctx, "connected"), toPeer(to.ID))
		if err == nil {
			break
		}
		// A connection may break just now; a new one is worth a try.
		if errors.Is(err, network.ErrNoConn) {
			err = io.EOF
		}
		if attempt > 0 || ctx.Err() != nil {
			return nil, unreachable(to, strings.Join(to.Addrs, ", "), cause(err))
		}
	}
	if err := raw.SetProtocol(protocol.ID(proto)); err != nil {
		raw.Reset()
		return nil, fmt.Errorf("peer %s: open a stream: %w", to.ID.Short(), cause(err))
	}
	s := &Stream{raw: raw, rw: mss.NewMSSelect(raw, protocol.ID(proto)), remote: to.ID, protocol: proto}
	s.SetIdle(h.config.Idle)
	return s, nil
}

// Handle has serve called, each time in its own goroutine, for the streams that
// peers open with proto. When serve returns, the stream is ended as by Refuse. The
// context ends when the Host is closed. Peers that have too many streams get ErrBusy.
func (h *Host) Handle(proto string, serve func(ctx context.Context, s *Stream)) {
	h.node.handle(protocol.ID(proto), func(raw network.Stream) {
		id, ok := fromPeer(raw.Conn().RemotePeer())
		place := placeOf(raw.Conn().RemoteMultiaddr())
		if !ok || h.config.pledge(raw) != nil || !h.enter(id, place) {
			raw.ResetWithError(network.StreamResourceLimitExceeded)
			return
		}
		defer h.leave(id, place)
		s := &Stream{raw: raw, rw: raw, remote: id, protocol: proto}
		s.SetIdle(h.config.Idle)
		defer s.Refuse() // nothing, once serve has closed it
		serve(h.ctx, s)
	})
}

func (h *Host) enter(id ident.ID, place netip.Prefix) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil || h.total >= h.config.MaxStreams || h.streams[id] >= h.config.MaxStreamsPerPeer ||
		place.IsValid() && h.from[place] >= max(h.config.MaxStreams/4, 1) {
		return false
	}
	h.total++
	h.streams[id]++
	if place.IsValid() {
		h.from[place]++
	}
	h.serves.Add(1)
	return true
}

func (h *Host) leave(id ident.ID, place netip.Prefix) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.total--
	release(h.streams, id)
	if place.IsValid() {
		release(h.from, place)
	}
	h.serves.Done()
}

// release takes one from a count, and the count away when nothing is left.
func release[K comparable](counts map[K]int, k K) {
	if counts[k]--; counts[k] <= 0 {
		delete(counts, k)
	}
}

// Connected reports whether there is a connection to the peer.
func (h *Host) Connected(id ident.ID) bool {
	return h.node.Connectedness(toPeer(id)) == network.Connected
}

// Disconnect closes the connections to the peer.
func (h *Host) Disconnect(id ident.ID) error {
	if err := h.node.ClosePeer(toPeer(id)); err != nil && !errors.Is(err, network.ErrNoConn) {
		return fmt.Errorf("peer %s: %w", id.Short(), cause(err))
	}
	return nil
}

// Protect keeps the connections to the peer when others are closed because there
// are too many.
func (h *Host) Protect(id ident.ID) { h.node.conns.Protect(toPeer(id), "cairn") }

// OnDisconnect has f called, from a goroutine of its own, whenever the last
// connection to a peer is gone.
func (h *Host) OnDisconnect(f func(ident.ID)) {
	h.onDisconnect(func(who peer.ID) {
		if id, ok := fromPeer(who); ok {
			f(id)
		}
	})
}

func (h *Host) onDisconnect(f func(peer.ID)) {
	h.node.Notify(&network.NotifyBundle{
		DisconnectedF: func(_ network.Network, conn network.Conn) {
			if who := conn.RemotePeer(); h.node.Connectedness(who) != network.Connected {
				f(who)
			}
		},
	})
}

// gater refuses peers without an Ed25519 key and those that the gate shuts out.
type gater struct{ gate func(ident.ID) bool }

func (g gater) allows(p peer.ID) bool {
	id, ok := fromPeer(p)
	return ok && (g.gate == nil || g.gate(id))
}

func (g gater) InterceptPeerDial(p peer.ID) bool                                { return g.allows(p) }
func (g gater) InterceptAddrDial(peer.ID, ma.Multiaddr) bool                    { return true }
func (g gater) InterceptAccept(network.ConnMultiaddrs) bool                     { return true }
func (g gater) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }
func (g gater) InterceptSecured(_ network.Direction, p peer.ID, _ network.ConnMultiaddrs) bool {
	return g.allows(p)
}
