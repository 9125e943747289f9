package transport

import (
	"context"
	"io"
	"net"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
	manet "github.com/multiformats/go-multiaddr/net"
	mss "github.com/multiformats/go-multistream"
)

// eagerUpgrader saves outgoing connections the round trip in which a peer agrees
// on how they are to be secured. There is but one way, so what libp2p proposes is
// agreed to on the spot; the handshake sends the proposal in truth, its own first
// message right behind it, and reads the peer's answer before anything else.
type eagerUpgrader struct{ transport.Upgrader }

func (u eagerUpgrader) Upgrade(ctx context.Context, t transport.Transport, c manet.Conn, dir network.Direction, p peer.ID, scope network.ConnManagementScope) (transport.CapableConn, error) {
	if dir == network.DirOutbound {
		c = &agreeing{Conn: c, answer: agreement}
	}
	return u.Upgrader.Upgrade(ctx, t, c, dir, p, scope)
}

// agreement is how a peer agrees to secureProtocol in multistream-select 1.0.
var agreement = token(mss.ProtocolID) + token(secureProtocol)

func token(text string) string { return string(rune(len(text)+1)) + text + "\n" }

// agreeing is a connection whose peer seems to agree to what is proposed, and of
// which nothing is sent.
type agreeing struct {
	manet.Conn
	answer string // not yet read
}

func (c *agreeing) Write(p []byte) (int, error) { return len(p), nil }

func (c *agreeing) Read(p []byte) (int, error) {
	n := copy(p, c.answer)
	c.answer = c.answer[n:]
	if n == 0 && len(p) > 0 {
		return 0, io.ErrUnexpectedEOF // the answer to another proposal than there is
	}
	return n, nil
}

// proposing is a connection on which the proposal goes out with the first Write,
// and the first Read takes in the answer to it.
type proposing struct {
	net.Conn
	lazy mss.LazyConn
}

func newProposing(c net.Conn) proposing {
	return proposing{Conn: c, lazy: mss.NewMSSelect(c, secureProtocol)}
}

func (c proposing) Read(p []byte) (int, error)  { return c.lazy.Read(p) }
func (c proposing) Write(p []byte) (int, error) { return c.lazy.Write(p) }
