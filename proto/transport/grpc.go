package transport

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"

	"github.com/cairnstorage/cairn/proto/ident"
)

// MaxReply is the largest reply that DialGRPC's connections take, in bytes.
const MaxReply = 16 << 20

// Listener takes the streams that peers open with proto as connections.
func (h *Host) Listener(proto string) net.Listener {
	ctx, cancel := context.WithCancel(h.ctx)
	l := &listener{host: h, ctx: ctx, close: cancel, conns: make(chan *conn)}
	h.Handle(proto, func(_ context.Context, s *Stream) {
		s.SetIdle(0) // gRPC has keepalives of its own
		c := &conn{Stream: s, local: h.id, done: make(chan struct{})}
		select {
		case l.conns <- c:
		case <-ctx.Done():
			s.Reset()
			return
		}
		select { // the stream counts against its peer while it is in use
		case <-c.done:
		case <-h.ctx.Done():
		}
	})
	return l
}

// NewGRPCServer makes a server for ServeGRPC, which lets clients ping as DialGRPC's do.
func NewGRPCServer(options ...grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append([]grpc.ServerOption{
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.MaxConcurrentStreams(256),
		grpc.ConnectionTimeout(20 * time.Second),
	}, options...)...)
}

// ServeGRPC serves peers that come by DialGRPC until server is stopped or the
// Host is closed. Handlers learn who calls from PeerFromContext.
func (h *Host) ServeGRPC(server *grpc.Server) error {
	err := server.Serve(h.Listener(SatelliteProtocol))
	if h.ctx.Err() != nil {
		return nil
	}
	return err
}

// DialGRPC makes a client of the server at to. It connects at the first call and
// again by itself whenever the connection is lost.
func (h *Host) DialGRPC(to Address, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		s, err := h.Open(ctx, to, SatelliteProtocol)
		if err != nil {
			return nil, err
		}
		s.SetIdle(0)
		return &conn{Stream: s, local: h.id, done: make(chan struct{})}, nil
	}
	client, err := grpc.NewClient("passthrough:///"+to.ID.String(), append([]grpc.DialOption{
		grpc.WithContextDialer(dial),
		grpc.WithTransportCredentials(insecure.NewCredentials()), // libp2p has encrypted already
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
			MinConnectTimeout: 2*h.config.DialTimeout + time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}),
		grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxReply)),
	}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("transport: client of peer %s: %w", to.ID.Short(), err)
	}
	return client, nil
}

// PeerFromContext is who calls the gRPC handler with this context.
func PeerFromContext(ctx context.Context) (ident.ID, bool) {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return ident.ID{}, false
	}
	addr, ok := from.Addr.(peerAddr)
	return ident.ID(addr), ok
}

// listener hands streams to Accept.
type listener struct {
	host  *Host
	ctx   context.Context
	close context.CancelFunc
	conns chan *conn
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error   { l.close(); return nil }
func (l *listener) Addr() net.Addr { return peerAddr(l.host.id) }

// conn is a Stream as a net.Conn.
type conn struct {
	*Stream
	local ident.ID
	once  sync.Once
	done  chan struct{}
}

func (c *conn) Close() error {
	err := c.Stream.Close()
	c.once.Do(func() { close(c.done) })
	return err
}

func (c *conn) LocalAddr() net.Addr  { return peerAddr(c.local) }
func (c *conn) RemoteAddr() net.Addr { return peerAddr(c.remote) }

// peerAddr is a party as a net.Addr.
type peerAddr ident.ID

func (peerAddr) Network() string  { return "libp2p" }
func (a peerAddr) String() string { return ident.ID(a).String() }
