package transport

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"time"

	p2pcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"

	"github.com/cairnstorage/cairn/proto/ident"
)

// A handshake is that of libp2p's TLS, which may itself be at the other end. Of
// what is as good it has what costs least: the key of a certificate is of Ed25519,
// not of P-256, and beside ML-KEM the key exchange has P-256, not X25519, a share
// of which takes crypto/ecdh more than three times as long to make.
type handshake struct {
	id          peer.ID
	certificate tls.Certificate
	protocols   []string // muxers, and none
}

// exchanges are what clients propose. Were X25519 among them, crypto/tls would
// send its share; servers accept it.
var exchanges = []tls.CurveID{tls.SecP256r1MLKEM768, tls.CurveP256}

// noMuxer is what ends that agree on no muxer in the handshake propose.
const noMuxer = "libp2p"

// certificateLife is for how long a certificate is valid, which lasts as long as
// the process.
const certificateLife = 100 * 365 * 24 * time.Hour

func newHandshake(key p2pcrypto.PrivKey, muxers []upgrader.StreamMuxer) (*handshake, error) {
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, err
	}
	h := &handshake{id: id}
	for _, m := range muxers {
		h.protocols = append(h.protocols, string(m.ID))
	}
	h.protocols = append(h.protocols, noMuxer)
	h.certificate, err = newCertificate(key)
	return h, err
}

// newCertificate makes a certificate of a key of its own, with the word of key for
// that.
func newCertificate(key p2pcrypto.PrivKey) (tls.Certificate, error) {
	own, err := ident.Generate(rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	signer := certificateKey{own}
	word, err := libp2ptls.GenerateSignedExtension(key, signer.Public())
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber:    serial,
		Subject:         pkix.Name{SerialNumber: serial.String()}, // must not be empty; RFC 5280, section 4.1.2.4
		NotBefore:       time.Now().Add(-time.Hour),
		NotAfter:        time.Now().Add(certificateLife),
		ExtraExtensions: []pkix.Extension{word},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: signer}, err
}

// certificateKey is the key of a certificate as crypto/tls wants it.
type certificateKey struct{ key ident.Key }

// Public is crypto.Signer.
func (k certificateKey) Public() crypto.PublicKey {
	id := k.key.ID()
	return ed25519.PublicKey(id[:])
}

// Sign is crypto.Signer, for messages that are not hashed before.
func (k certificateKey) Sign(_ io.Reader, msg []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != 0 {
		return nil, errors.New("transport: a hash is to be signed")
	}
	return k.key.SignHandshake(msg), nil
}

// do shakes hands, as the client or the server, with p or, if that is "", whoever
// is there. When it fails, the connection is closed.
func (h *handshake) do(ctx context.Context, insecure net.Conn, p peer.ID, asClient bool) (_ *handshaken, err error) {
	defer func() {
		if err != nil {
			insecure.Close()
		}
	}()
	done := &handshaken{}
	config := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{h.certificate},
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, // there is nobody to certify anything; see identify
		NextProtos:             h.protocols,
		SessionTicketsDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) (err error) {
			done.peer, done.key, err = identify(state.PeerCertificates, p)
			return err
		},
	}
	conn := tls.Server(insecure, config)
	if asClient {
		config.CurvePreferences = exchanges
		conn = tls.Client(insecure, config)
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	done.tls = conn.ConnectionState()
	if chosen := done.tls.NegotiatedProtocol; chosen != "" && chosen != noMuxer {
		done.state = network.ConnectionState{StreamMultiplexer: protocol.ID(chosen), UsedEarlyMuxerNegotiation: true}
	}
	return done, nil
}

// handshaken is what comes of a handshake.
type handshaken struct {
	peer  peer.ID
	key   p2pcrypto.PubKey
	state network.ConnectionState
	tls   tls.ConnectionState
}

// identify says whose word is in the certificate of a peer, which has proven to
// crypto/tls that it has the key of that. It must be p, unless that is "".
func identify(chain []*x509.Certificate, p peer.ID) (_ peer.ID, _ p2pcrypto.PubKey, err error) {
	// What a stranger sent is not to end the process.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("certificate: %v", r)
		}
	}()
	own := make([]*x509.Certificate, len(chain))
	for i, cert := range chain {
		// crypto/tls shares one among connections, and it is going to be changed.
		copied := *cert
		copied.UnhandledCriticalExtensions = slices.Clone(cert.UnhandledCriticalExtensions)
		own[i] = &copied
	}
	key, err := libp2ptls.PubKeyFromCertChain(own)
	if err != nil {
		return "", nil, err
	}
	actual, err := peer.IDFromPublicKey(key)
	if err != nil {
		return "", nil, err
	}
	if p != "" && p != actual {
		return "", nil, sec.ErrPeerIDMismatch{Expected: p, Actual: actual}
	}
	return actual, key, nil
}
