package transport

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"

	"github.com/cairnstorage/cairn/proto/record"
)

// secureProtocol is how connections are secured: the handshake of libp2p's TLS,
// which says who is at the other end, then records that are larger than TLS has.
const secureProtocol = "/cairn/tls-record/1"

// exporterLabel is what the secrets of the records are exported for (RFC 8446,
// section 7.5).
const exporterLabel = "EXPORTER-cairn-record"

// secureTransport secures connections.
type secureTransport struct{ *handshake }

func newSecureTransport(key crypto.PrivKey, muxers []upgrader.StreamMuxer) (*secureTransport, error) {
	h, err := newHandshake(key, muxers)
	return &secureTransport{h}, err
}

func (t *secureTransport) ID() protocol.ID { return secureProtocol }

// SecureInbound is sec.SecureTransport.
func (t *secureTransport) SecureInbound(ctx context.Context, insecure net.Conn, p peer.ID) (sec.SecureConn, error) {
	done, err := t.do(ctx, &exactReader{Conn: insecure}, p, false)
	if err != nil {
		return nil, err
	}
	return t.takeOver(insecure, done, false)
}

// SecureOutbound is sec.SecureTransport.
func (t *secureTransport) SecureOutbound(ctx context.Context, insecure net.Conn, p peer.ID) (sec.SecureConn, error) {
	raw := insecure
	if agreed, ok := insecure.(*agreeing); ok {
		raw = agreed.Conn
		insecure = newProposing(raw)
	}
	done, err := t.do(ctx, &exactReader{Conn: insecure}, p, true)
	if err != nil {
		return nil, err
	}
	return t.takeOver(raw, done, true)
}

// takeOver goes on with records where a handshake has ended, as its client or
// its server.
func (t *secureTransport) takeOver(raw net.Conn, done *handshaken, asClient bool) (_ sec.SecureConn, err error) {
	defer func() {
		if err != nil {
			raw.Close()
		}
	}()
	suite, ok := ciphers[done.tls.CipherSuite]
	if !ok {
		return nil, fmt.Errorf("unknown cipher suite %s", tls.CipherSuiteName(done.tls.CipherSuite))
	}
	const size = len(record.Secret{})
	exported, err := done.tls.ExportKeyingMaterial(exporterLabel, nil, 2*size)
	if err != nil {
		return nil, err
	}
	// The client's secret comes first.
	secrets := record.Secrets{Send: record.Secret(exported[:size]), Receive: record.Secret(exported[size:])}
	if !asClient {
		secrets.Send, secrets.Receive = secrets.Receive, secrets.Send
	}
	records, err := record.New(raw, suite, secrets)
	if err != nil {
		return nil, err
	}
	// What the handshake needed is let go: only who the peer is stays.
	return &secureConn{Conn: records, local: t.id, remote: done.peer, key: done.key, state: done.state}, nil
}

// ciphers are those of TLS 1.3, of which the handshake has chosen what suits both
// machines.
var ciphers = map[uint16]record.Cipher{
	tls.TLS_AES_128_GCM_SHA256:       record.AES128GCM,
	tls.TLS_AES_256_GCM_SHA384:       record.AES256GCM,
	tls.TLS_CHACHA20_POLY1305_SHA256: record.ChaCha20Poly1305,
}

// secureConn is a secured connection and who is at its ends.
type secureConn struct {
	*record.Conn
	local, remote peer.ID
	key           crypto.PubKey
	state         network.ConnectionState
}

func (c *secureConn) LocalPeer() peer.ID                 { return c.local }
func (c *secureConn) RemotePeer() peer.ID                { return c.remote }
func (c *secureConn) RemotePublicKey() crypto.PubKey     { return c.key }
func (c *secureConn) ConnState() network.ConnectionState { return c.state }

// exactReader keeps a TLS handshake from reading more than the records of it: what
// follows is for others. crypto/tls reads a record's header, then its body, and
// whatever else is there.
type exactReader struct {
	net.Conn
	header [5]byte // type, version, length; RFC 8446, section 5.1
	have   int     // bytes of the header
	left   int     // of the body
}

func (r *exactReader) Read(p []byte) (int, error) {
	inBody := r.left > 0
	if inBody {
		p = p[:min(len(p), r.left)]
	} else {
		p = p[:min(len(p), len(r.header)-r.have)]
	}
	n, err := r.Conn.Read(p)
	if inBody {
		r.left -= n
		return n, err
	}
	copy(r.header[r.have:], p[:n])
	if r.have += n; r.have == len(r.header) {
		r.have, r.left = 0, int(binary.BigEndian.Uint16(r.header[3:]))
	}
	return n, err
}
