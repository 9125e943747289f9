package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/cairnstorage/cairn/proto/ident"
)

// whoami answers with OK only to callers it can name, and tells who they are.
type whoami struct {
	health.UnimplementedHealthServer
}

func (whoami) Check(ctx context.Context, _ *health.HealthCheckRequest) (*health.HealthCheckResponse, error) {
	id, ok := PeerFromContext(ctx)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "who are you?")
	}
	return nil, status.Error(codes.AlreadyExists, id.String())
}

// serving listens, and has calls wait until they are served: a call that comes
// before is not made again.
func serving(c *Config) {
	listening(c)
	c.Serves = []string{SatelliteProtocol}
}

func serveWhoami(t *testing.T, h *Host) *grpc.Server {
	t.Helper()
	server := NewGRPCServer()
	health.RegisterHealthServer(server, whoami{})
	done := make(chan error, 1)
	go func() { done <- h.ServeGRPC(SatelliteProtocol, server) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return server
}

func ask(t *testing.T, conn *grpc.ClientConn, options ...grpc.CallOption) (string, error) {
	_, err := health.NewHealthClient(conn).Check(t.Context(), &health.HealthCheckRequest{}, options...)
	if status.Code(err) == codes.AlreadyExists {
		return status.Convert(err).Message(), nil
	}
	return "", err
}

func dialGRPC(t *testing.T, h *Host, to Address) *grpc.ClientConn {
	t.Helper()
	conn, err := h.DialGRPC(to, SatelliteProtocol)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestGRPC(t *testing.T) {
	server := newHost(t, serving)
	serveWhoami(t, server)
	for range 3 {
		client := newHost(t, nil)
		conn := dialGRPC(t, client, addressOf(t, server))
		for range 3 {
			if who, err := ask(t, conn); err != nil || who != client.ID().String() {
				t.Errorf("I am %q, %v", who, err)
			}
		}
	}
}

func TestGRPCServerDown(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := multiaddrOf(gone.Addr().(*net.TCPAddr).Port)
	gone.Close()
	conn := dialGRPC(t, newHost(t, nil), Address{ID: newKey(t).ID(), Addrs: []string{addr}})
	_, err = ask(t, conn)
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v", err)
	}
}

// A client goes on by itself when its server comes back at the same place.
func TestGRPCRedial(t *testing.T) {
	key := newKey(t)
	first, err := New(Config{Key: key, Listen: []string{loopback}, Serves: []string{SatelliteProtocol}})
	if err != nil {
		t.Fatal(err)
	}
	to := addressOf(t, first)
	client := newHost(t, nil)
	conn := dialGRPC(t, client, to)
	old := NewGRPCServer()
	health.RegisterHealthServer(old, whoami{})
	done := make(chan error, 1)
	go func() { done <- first.ServeGRPC(SatelliteProtocol, old) }()
	if _, err := ask(t, conn); err != nil {
		t.Fatal(err)
	}
	first.Close()
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
	old.Stop()
	second := newHost(t, func(c *Config) { serving(c); c.Key, c.Listen = key, to.Addrs })
	serveWhoami(t, second)
	who, err := ask(t, conn, grpc.WaitForReady(true))
	for status.Code(err) == codes.Unavailable { // the call had gone out to the old server
		who, err = ask(t, conn, grpc.WaitForReady(true))
	}
	if err != nil || who != client.ID().String() {
		t.Errorf("I am %q, %v", who, err)
	}
}

// A connection takes one of its peer's streams for as long as it is used.
func TestGRPCStreamsPerPeer(t *testing.T) {
	server := newHost(t, func(c *Config) { serving(c); c.MaxStreamsPerPeer = 1 })
	serveWhoami(t, server)
	client := newHost(t, nil)
	first := dialGRPC(t, client, addressOf(t, server))
	if _, err := ask(t, first); err != nil {
		t.Fatal(err)
	}
	second := dialGRPC(t, client, addressOf(t, server))
	if _, err := ask(t, second); status.Code(err) != codes.Unavailable {
		t.Errorf("one more: %v", err)
	}
	second.Close() // or it would go on trying
	first.Close()
	third := dialGRPC(t, client, addressOf(t, server))
	_, err := ask(t, third, grpc.WaitForReady(true))
	for status.Code(err) == codes.Unavailable { // until the server has noticed
		_, err = ask(t, third, grpc.WaitForReady(true))
	}
	if err != nil {
		t.Errorf("after the first was closed: %v", err)
	}
}

func TestPeerFromForeignContext(t *testing.T) {
	if id, ok := PeerFromContext(t.Context()); ok || !id.IsZero() {
		t.Errorf("%s", id)
	}
}

func TestWithPeer(t *testing.T) {
	who, where := ident.ID{1}, netip.MustParseAddr("192.0.2.7")
	ctx := WithPeer(t.Context(), who, where)
	if id, ok := PeerFromContext(ctx); !ok || id != who || RemoteIP(ctx) != where {
		t.Errorf("%s, %v from %v", id, ok, RemoteIP(ctx))
	}
}

func TestListener(t *testing.T) {
	server, client := newHost(t, listening), newHost(t, nil)
	l := server.Listener(echo)
	if l.Addr().String() != server.ID().String() || l.Addr().Network() != "libp2p" {
		t.Errorf("listens at %s %s", l.Addr().Network(), l.Addr())
	}
	s := open(t, client, addressOf(t, server), echo)
	s.Write([]byte{7})
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if c.RemoteAddr().String() != client.ID().String() || c.LocalAddr().String() != server.ID().String() {
		t.Errorf("between %s and %s", c.RemoteAddr(), c.LocalAddr())
	}
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Error(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	c.Close()
	l.Close()
	if _, err := l.Accept(); err != net.ErrClosed {
		t.Errorf("accept: %v", err)
	}
}

// One peer gets few of a listener's connections, however many streams it may open.
func TestListenerShare(t *testing.T) {
	server := newHost(t, serving)
	serveWhoami(t, server)
	greedy := newHost(t, nil)
	for i := range listenersShare + 1 {
		_, err := ask(t, dialGRPC(t, greedy, addressOf(t, server)))
		if over := i == listenersShare; over != (status.Code(err) == codes.Unavailable) {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	if _, err := ask(t, dialGRPC(t, newHost(t, nil), addressOf(t, server))); err != nil {
		t.Errorf("another peer: %v", err)
	}
}

// Who is not admitted is told so before the message is read, even if it never comes.
func TestAdmit(t *testing.T) {
	server := newHost(t, serving)
	answers := make(chan error, 1)
	g := NewGRPCServer()
	g.RegisterService(Guarded(health.Health_ServiceDesc, func(ctx context.Context) (context.Context, error) {
		if id, ok := PeerFromContext(ctx); !ok || id.IsZero() || !RemoteIP(ctx).IsLoopback() {
			t.Errorf("asked about %s from %s", id, RemoteIP(ctx))
		}
		return ctx, <-answers
	}, nil), whoami{})
	go server.ServeGRPC(SatelliteProtocol, g)
	defer g.Stop()
	conn := dialGRPC(t, newHost(t, nil), addressOf(t, server))
	call, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, health.Health_Check_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	answers <- status.Error(codes.PermissionDenied, "no")
	if err := call.RecvMsg(&health.HealthCheckResponse{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("%v", err)
	}
	answers <- nil
	if who, err := ask(t, conn); err != nil || who == "" {
		t.Errorf("admitted: %q, %v", who, err)
	}
}

// TestCallsGoAhead has a server that says nothing: it is sent the call all the
// same.
func TestCallsGoAhead(t *testing.T) {
	server := newHost(t, serving)
	listener := server.Listener(SatelliteProtocol)
	defer listener.Close()
	conn := dialGRPC(t, newHost(t, nil), addressOf(t, server))
	go ask(t, conn)
	c, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	preface := make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	if _, err := io.ReadFull(c, preface); err != nil {
		t.Fatal(err)
	}
	const headers = 1
	for kind := byte(0xff); kind != headers; {
		if kind, _, err = readFrame(c); err != nil {
			t.Fatal(err)
		}
	}
}

// TestForetold compares what servers say first with what clients take it to be.
func TestForetold(t *testing.T) {
	server := newHost(t, serving)
	serveWhoami(t, server)
	s := open(t, newHost(t, nil), addressOf(t, server), SatelliteProtocol)
	if _, err := io.WriteString(s, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		t.Fatal(err)
	}
	kind, said, err := readFrame(s)
	if err != nil {
		t.Fatal(err)
	}
	want, settings, err := readFrame(strings.NewReader(foretold))
	if err != nil {
		t.Fatal(err)
	}
	for len(settings) > 0 {
		if kind != want || !bytes.Contains(said, settings[:6]) {
			t.Errorf("it begins with a frame of type %d, %x", kind, said)
		}
		settings = settings[6:]
	}
}

// readFrame reads a frame of HTTP/2.
func readFrame(r io.Reader) (kind byte, payload []byte, err error) {
	var header [9]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	payload = make([]byte, binary.BigEndian.Uint32(header[:])>>8)
	_, err = io.ReadFull(r, payload)
	return header[3], payload, err
}
