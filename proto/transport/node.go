package transport

import (
	"crypto/hkdf"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/minio/sha256-simd"
	ma "github.com/multiformats/go-multiaddr"
	mss "github.com/multiformats/go-multistream"
	"github.com/quic-go/quic-go"
)

// A node is what a Host needs of libp2p: a swarm with its transports, and who
// serves the streams. libp2p's own host would do more: with each new connection
// both ends ask each other what they are, for a tenth of what a connection costs,
// and take up addresses that are of no use here (see Host.expect).
type node struct {
	*swarm.Swarm
	conns     connmgr.ConnManager
	protocols *mss.MultistreamMuxer[protocol.ID]
	announce  []ma.Multiaddr // instead of the addresses it listens on
	parts     []func() error // to be closed, the last first
	closed    chan struct{}
	end       func() error // closeParts, once

	mu      sync.Mutex
	missing map[protocol.ID]bool // of Config.Serves
	ready   chan struct{}        // closed when none is
}

// newNode makes a node that does not listen yet.
func newNode(c Config, traffic *traffic) (_ *node, err error) {
	n := &node{
		protocols: mss.NewMultistreamMuxer[protocol.ID](),
		closed:    make(chan struct{}), ready: make(chan struct{}), missing: make(map[protocol.ID]bool),
	}
	n.end = sync.OnceValue(n.closeParts)
	for _, proto := range c.Serves {
		n.missing[protocol.ID(proto)] = true
	}
	n.checkReady()
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	if n.announce, err = parseAll(c.Announce); err != nil {
		return nil, err
	}
	key, err := newPrivateKey(c.Key)
	if err != nil {
		return nil, err
	}
	resources, err := newResourceManager(c)
	if err != nil {
		return nil, fmt.Errorf("transport: limits: %w", err)
	}
	n.parts = append(n.parts, resources.Close)
	if err := n.openSwarm(c, key, resources, traffic); err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	if err := n.addTransports(c, key, resources); err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	conns, err := newConnManager(c)
	if err != nil {
		return nil, fmt.Errorf("transport: limits: %w", err)
	}
	n.parts = append(n.parts, conns.Close)
	n.conns = conns
	n.Notify(conns.Notifee())
	n.SetStreamHandler(n.serve)
	return n, nil
}

// openSwarm makes what keeps the connections.
func (n *node) openSwarm(c Config, key crypto.PrivKey, resources network.ResourceManager, traffic *traffic) error {
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return err
	}
	book, err := pstoremem.NewPeerstore()
	if err != nil {
		return err
	}
	n.parts = append(n.parts, book.Close)
	n.Swarm, err = swarm.NewSwarm(id, book, eventbus.NewBus(),
		swarm.WithResourceManager(resources),
		swarm.WithConnectionGater(gater{c.Gate}),
		swarm.WithMetrics(traffic),
		swarm.WithDialRanker(rankTCPFirst),
		swarm.WithDialTimeout(c.DialTimeout),
		swarm.WithUDPBlackHoleSuccessCounter(nil),
		swarm.WithIPv6BlackHoleSuccessCounter(nil),
	)
	if err == nil {
		n.parts = append(n.parts, n.Swarm.Close)
	}
	return err
}

// addTransports lets connections be made over TCP, and over QUIC if that is wanted.
func (n *node) addTransports(c Config, key crypto.PrivKey, resources network.ResourceManager) error {
	muxers := []upgrader.StreamMuxer{{ID: muxProtocol, Muxer: muxer{c.Window}}}
	secure, err := newSecureTransport(key, muxers)
	if err != nil {
		return err
	}
	upgrade, err := upgrader.New([]sec.SecureTransport{secure}, muxers, nil, resources, gater{c.Gate})
	if err != nil {
		return err
	}
	carrier, err := newTCP(eagerUpgrader{upgrade}, resources, c.DialTimeout)
	if err == nil {
		err = n.AddTransport(carrier)
	}
	if err != nil || !c.QUIC {
		return err
	}
	return n.addQUIC(c, key, resources)
}

func (n *node) addQUIC(c Config, key crypto.PrivKey, resources network.ResourceManager) error {
	// The same after a restart, so that peers notice it.
	var reset quic.StatelessResetKey
	var token quic.TokenGeneratorKey
	for label, secret := range map[string][]byte{"cairn quic stateless reset": reset[:], "cairn quic tokens": token[:]} {
		derived, err := hkdf.Key(sha256.New, c.Key.Ed25519().Seed(), nil, label, len(secret))
		if err != nil {
			return err
		}
		copy(secret, derived)
	}
	conns, err := quicreuse.NewConnManager(reset, token, quicreuse.VerifySourceAddress(resources.VerifySourceAddress))
	if err != nil {
		return err
	}
	n.parts = slices.Insert(n.parts, 0, conns.Close)
	overQUIC, err := libp2pquic.NewTransport(key, conns, nil, gater{c.Gate}, resources)
	if err != nil {
		return err
	}
	return n.AddTransport(overQUIC)
}

// Close ends all connections.
func (n *node) Close() error { return n.end() }

func (n *node) closeParts() error {
	close(n.closed)
	var errs []error
	for _, part := range slices.Backward(n.parts) {
		errs = append(errs, part())
	}
	return errors.Join(errs...)
}

// addresses are those that others may use.
func (n *node) addresses() []ma.Multiaddr {
	if len(n.announce) > 0 {
		return n.announce
	}
	addrs, err := n.InterfaceListenAddresses()
	if err != nil {
		return n.ListenAddresses()
	}
	return addrs
}

// handle has serve called for the streams that peers open with proto.
func (n *node) handle(proto protocol.ID, serve func(network.Stream)) {
	n.protocols.AddHandler(proto, func(_ protocol.ID, s io.ReadWriteCloser) error {
		serve(s.(network.Stream))
		return nil
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.missing[proto] {
		delete(n.missing, proto)
		n.checkReady()
	}
}

func (n *node) checkReady() {
	if len(n.missing) == 0 {
		close(n.ready)
	}
}

// serve agrees with a peer on the protocol of a stream and has it served.
func (n *node) serve(s network.Stream) {
	if err := s.SetDeadline(time.Now().Add(negotiation)); err != nil {
		s.Reset()
		return
	}
	n.awaitReady()
	proto, handle, err := n.protocols.Negotiate(s)
	if err != nil {
		s.ResetWithError(network.StreamProtocolNegotiationFailed)
		return
	}
	if err := s.SetDeadline(time.Time{}); err != nil {
		s.Reset()
		return
	}
	if err := s.SetProtocol(proto); err != nil {
		s.ResetWithError(network.StreamResourceLimitExceeded)
		return
	}
	_ = handle(proto, s)
}

// awaitReady waits until all that is to be served can be.
func (n *node) awaitReady() {
	select {
	case <-n.ready: // nearly always
		return
	default:
	}
	select {
	case <-n.ready:
	case <-n.closed:
	case <-time.After(negotiation):
	}
}

// negotiation is how long a peer may take to say which protocol a stream has.
const negotiation = 10 * time.Second
