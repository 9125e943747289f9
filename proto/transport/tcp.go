package transport

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// keepAlive is how long a connection may be silent before it is looked after.
const keepAlive = 30 * time.Second

// overTCP is libp2p's TCP, but for sockets on loopback, which get what is best
// there before they connect or listen: later is too late, for a congestion control
// that paces leaves the pacing behind.
type overTCP struct {
	*tcp.TcpTransport
	upgrader transport.Upgrader
}

func newTCP(upgrader transport.Upgrader, resources network.ResourceManager, timeout time.Duration) (*overTCP, error) {
	dialer := &net.Dialer{Control: forLoopback}
	inner, err := tcp.NewTCPTransport(upgrader, resources, nil,
		tcp.WithDialerForAddr(func(ma.Multiaddr) (tcp.ContextDialer, error) { return dialer, nil }),
		tcp.WithConnectionTimeout(timeout))
	return &overTCP{inner, upgrader}, err
}

// Listen is transport.Transport. There is no port reuse: a second process on a
// taken port must be told.
func (t *overTCP) Listen(addr ma.Multiaddr) (transport.Listener, error) {
	network, address, err := manet.DialArgs(addr)
	if err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: forLoopback, KeepAlive: keepAlive}
	socket, err := config.Listen(context.Background(), network, address)
	if err != nil {
		return nil, err
	}
	listener, err := manet.WrapNetListener(resetting{socket})
	if err != nil {
		socket.Close()
		return nil, err
	}
	return t.upgrader.UpgradeGatedMaListener(t, t.upgrader.GateMaListener(listener)), nil
}

// resetting has connections reset when they are closed, as libp2p's TCP does, so
// that none stays behind to keep its ports.
type resetting struct{ net.Listener }

func (l resetting) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // or wait
	}
	return conn, err
}

// forLoopback is what net calls with a new socket and where it is going to be.
func forLoopback(_, address string, socket syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().IsLoopback() {
		return nil
	}
	return socket.Control(func(fd uintptr) { dontPace(int(fd)) })
}
