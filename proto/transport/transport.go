// Package transport is how parties reach each other: one libp2p host per party,
// over TCP, secured by a TLS 1.3 handshake and large records, with yamux, or over
// QUIC, known by Ed25519 keys alone. It
// bounds what a peer may take of memory, connections, streams and time. No other
// package imports libp2p.
package transport

import (
	"errors"
	"log/slog"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/mux"
)

// The APIs of satellites, gRPC over streams: one for uplinks, one for storage
// nodes. Anyone may become a node, so what that one takes is bounded tighter.
const (
	SatelliteProtocol = "/cairn/satellite/1"
	NodesProtocol     = "/cairn/nodes/1"
)

// MinRate is the slowest a peer may send or take a message, in bytes per second.
const MinRate = 4 << 10

var (
	// ErrAddress is returned for text that is not the address of a party.
	ErrAddress = errors.New("not an address")
	// ErrUnreachable is returned when no connection to a peer can be had.
	ErrUnreachable = errors.New("unreachable")
	// ErrWrongPeer is returned, with ErrUnreachable, when a peer with another
	// key answers at the address.
	ErrWrongPeer = errors.New("another peer answers there")
	// ErrBusy is returned when the peer takes no further stream or connection.
	ErrBusy = errors.New("peer is busy")
	// ErrStalled is returned when a peer has sent or taken too little for too long.
	ErrStalled = errors.New("peer stalls")
	// ErrReset is returned when the other side, or Reset, cut the stream, or the
	// connection beneath it broke.
	ErrReset = errors.New("stream was cut")
	// ErrProtocol is returned when the peer does not speak the protocol.
	ErrProtocol = errors.New("protocol not spoken there")
	// ErrClosed is returned by a Host that was closed.
	ErrClosed = errors.New("transport is closed")
)

// Config says what a Host is to be. Key is required; a zero limit means its default.
type Config struct {
	Key ident.Key
	// Listen holds the multiaddrs to listen on, such as "/ip4/0.0.0.0/tcp/7700" or,
	// with QUIC, "/ip4/0.0.0.0/udp/7700/quic-v1". Without any, the Host only dials.
	Listen []string
	// Announce replaces, where given, the addresses that others are told.
	Announce []string
	// QUIC makes the Host dial, and listen where Listen says so, over QUIC too.
	QUIC bool
	// Serves names protocols that will be handled. Until all of them are, whatever
	// peers open waits, for ten seconds at most: a Host listens before its owner is
	// ready, and nobody is to be told that it does not speak what it is about to.
	Serves []string
	// Gate says whether to talk to a peer, either way; nil lets all in. It is
	// called from many goroutines.
	Gate func(ident.ID) bool

	MaxConns          int           // connections, 4096
	MaxConnsPerIP     int           // inbound connections from one IPv4 address or IPv6 /56, 1024; loopback is free
	MaxStreams        int           // inbound streams, 4096
	MaxStreamsPerPeer int           // inbound streams of one peer, 256
	MaxMemory         int64         // bytes that receive windows may take, 2 GiB; an inbound stream pledges all of its own
	Window            int           // bytes of a stream that peers may send before they are read, 2 MiB
	DialTimeout       time.Duration // for one address, 5 s
	Idle              time.Duration // patience of a Stream, 30 s

	Logger *slog.Logger // nil logs nothing
}

// withDefaults is c with every zero limit replaced by its default.
func (c Config) withDefaults() Config {
	setDefault(&c.MaxConns, 4096)
	setDefault(&c.MaxConnsPerIP, 1024)
	setDefault(&c.MaxStreams, 4096)
	setDefault(&c.MaxStreamsPerPeer, 256)
	setDefault(&c.MaxMemory, 2<<30)
	setDefault(&c.Window, 2<<20)
	setDefault(&c.DialTimeout, 5*time.Second)
	setDefault(&c.Idle, 30*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func setDefault[T int | int64 | time.Duration](limit *T, value T) {
	if *limit == 0 {
		*limit = value
	}
}

func (c Config) validate() error {
	if c.Key.IsZero() {
		return errors.New("transport: Config.Key is not set")
	}
	if c.MaxConns < 0 || c.MaxConnsPerIP < 0 || c.MaxStreams < 0 || c.MaxStreamsPerPeer < 0 ||
		c.MaxMemory < 0 || c.Window != 0 && c.Window < mux.LeastWindow || c.DialTimeout < 0 || c.Idle < 0 {
		return errors.New("transport: a limit is too small")
	}
	return nil
}
