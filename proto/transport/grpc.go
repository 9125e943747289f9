package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/tap"

	"github.com/cairnstorage/cairn/proto/ident"
)

// MaxReply is the largest reply that DialGRPC's connections take, in bytes.
const MaxReply = 16 << 20

const (
	listenersShare = 4  // connections of one peer to a Listener; DialGRPC makes one
	maxCalls       = 32 // under way in one connection
	// callTime is how long a call may take, from its first byte on: the request
	// takes memory while it comes in.
	callTime = time.Minute
)

// Listener takes the streams that peers open with proto as connections, at most
// four of one peer at a time.
func (h *Host) Listener(proto string) net.Listener {
	ctx, cancel := context.WithCancel(h.ctx)
	l := &listener{host: h, ctx: ctx, close: cancel, conns: make(chan *conn), peers: make(map[ident.ID]int)}
	h.Handle(proto, func(_ context.Context, s *Stream) {
		if !l.enter(s.remote) {
			s.raw.ResetWithError(network.StreamResourceLimitExceeded)
			return
		}
		defer l.leave(s.remote)
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

// NewGRPCServer makes a server for ServeGRPC, which lets clients ping as
// DialGRPC's do and bounds calls.
func NewGRPCServer(options ...grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append([]grpc.ServerOption{
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: time.Minute, Timeout: 20 * time.Second, MaxConnectionIdle: 5 * time.Minute,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.MaxConcurrentStreams(maxCalls),
		grpc.ConnectionTimeout(20 * time.Second),
		grpc.InTapHandle(func(ctx context.Context, _ *tap.Info) (context.Context, error) {
			bounded, cancel := context.WithTimeout(ctx, callTime)
			context.AfterFunc(ctx, cancel)
			return bounded, nil
		}),
	}, options...)...)
}

// Guarded is a service of unary calls that asks admit about each before it reads
// the message. The error of admit is what the caller gets, or else the context
// that it returns is the handler's. intercept, which may be nil, is put around
// the handlers; the server's own interceptor for unary calls is not used.
func Guarded(service grpc.ServiceDesc, admit func(context.Context) (context.Context, error), intercept grpc.UnaryServerInterceptor) *grpc.ServiceDesc {
	// gRPC reads the message of a unary call before it asks anyone, and its tap
	// handle leaks the context of a call that it refuses. A stream is read by
	// its handler, and looks the same to the caller.
	for _, method := range service.Methods {
		service.Streams = append(slices.Clip(service.Streams), grpc.StreamDesc{
			StreamName:    method.MethodName,
			ClientStreams: true,
			Handler: func(server any, stream grpc.ServerStream) error {
				ctx, err := admit(stream.Context())
				if err != nil {
					return err
				}
				reply, err := method.Handler(server, ctx, stream.RecvMsg, intercept)
				if err != nil {
					return err
				}
				return stream.SendMsg(reply)
			},
		})
	}
	service.Methods = nil
	return &service
}

// ServeGRPC serves peers that come by DialGRPC with proto until server is
// stopped or the Host is closed. Handlers learn who calls from PeerFromContext.
func (h *Host) ServeGRPC(proto string, server *grpc.Server) error {
	err := server.Serve(h.Listener(proto))
	if h.ctx.Err() != nil || errors.Is(err, grpc.ErrServerStopped) { // the latter if it never began
		return nil
	}
	return err
}

// DialGRPC makes a client of the server of proto at to. It connects at the first
// call and again by itself whenever the connection is lost.
func (h *Host) DialGRPC(to Address, proto string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		s, err := h.Open(ctx, to, proto)
		if err != nil {
			return nil, err
		}
		s.SetIdle(0)
		return &conn{Stream: s, local: h.id, done: make(chan struct{}), foretold: foretold}, nil
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

// foretold is the SETTINGS frame that a server of NewGRPCServer begins with (RFC
// 9113, section 6.5). HTTP/2 lets a client make its calls without waiting for it,
// but gRPC waits, for a round trip. So it is given this one; that of the server
// comes like any that changes settings.
const foretold = "\x00\x00\x06\x04\x00\x00\x00\x00\x00" + // 6 bytes of SETTINGS
	"\x00\x03\x00\x00\x00" + string(rune(maxCalls)) // SETTINGS_MAX_CONCURRENT_STREAMS

// PeerFromContext is who calls the gRPC handler with this context.
func PeerFromContext(ctx context.Context) (ident.ID, bool) {
	addr, ok := callerOf(ctx)
	return addr.id, ok
}

// WithPeer is a context as handlers get it that are called by id from ip. It is
// for those who call handlers themselves, without a connection that says who
// calls: simulations, and tests.
func WithPeer(ctx context.Context, id ident.ID, ip netip.Addr) context.Context {
	return peer.NewContext(ctx, &peer.Peer{Addr: peerAddr{id: id, ip: ip}})
}

// RemoteIP is where the caller's connection comes from; the zero Addr if that is
// not known.
func RemoteIP(ctx context.Context) netip.Addr {
	addr, _ := callerOf(ctx)
	return addr.ip
}

func callerOf(ctx context.Context) (peerAddr, bool) {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return peerAddr{}, false
	}
	addr, ok := from.Addr.(peerAddr)
	return addr, ok
}

// listener hands streams to Accept.
type listener struct {
	host  *Host
	ctx   context.Context
	close context.CancelFunc
	conns chan *conn

	mu    sync.Mutex
	peers map[ident.ID]int // connections
}

func (l *listener) enter(id ident.ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.peers[id] >= listenersShare {
		return false
	}
	l.peers[id]++
	return true
}

func (l *listener) leave(id ident.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	release(l.peers, id)
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
func (l *listener) Addr() net.Addr { return peerAddr{id: l.host.id} }

// conn is a Stream as a net.Conn.
type conn struct {
	*Stream
	local ident.ID
	once  sync.Once
	done  chan struct{}

	foretold string // read before what the peer sends
}

func (c *conn) Read(p []byte) (int, error) {
	if len(c.foretold) > 0 {
		n := copy(p, c.foretold)
		c.foretold = c.foretold[n:]
		return n, nil
	}
	return c.Stream.Read(p)
}

func (c *conn) Close() error {
	err := c.Stream.Close()
	c.once.Do(func() { close(c.done) })
	return err
}

func (c *conn) LocalAddr() net.Addr { return peerAddr{id: c.local} }
func (c *conn) RemoteAddr() net.Addr {
	return peerAddr{c.remote, remoteIP(c.raw.Conn().RemoteMultiaddr())}
}

// peerAddr is a party as a net.Addr, and the address it comes from.
type peerAddr struct {
	id ident.ID
	ip netip.Addr
}

func (peerAddr) Network() string  { return "libp2p" }
func (a peerAddr) String() string { return a.id.String() }
