package transport

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
)

// shake has both ends of a connection shake hands, however they do it.
func shake(t *testing.T, client, server func(net.Conn) error) (clientErr, serverErr error) {
	t.Helper()
	c, s := rawPair(t)
	deadline := time.Now().Add(20 * time.Second)
	c.SetDeadline(deadline)
	s.SetDeadline(deadline)
	served := make(chan error, 1)
	go func() { served <- server(s) }()
	clientErr = client(c)
	return clientErr, <-served
}

// TestLibp2p shakes hands with libp2p's own TLS, from either end, with a muxer to
// agree on and without.
func TestLibp2p(t *testing.T) {
	for name, muxers := range map[string][]upgrader.StreamMuxer{"no muxer": nil, "muxer": {{ID: muxProtocol}}} {
		key, err := newPrivateKey(newKey(t))
		if err != nil {
			t.Fatal(err)
		}
		ours, err := newHandshake(key, muxers)
		if err != nil {
			t.Fatal(err)
		}
		otherKey, err := newPrivateKey(newKey(t))
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := libp2ptls.New(secureProtocol, otherKey, muxers)
		if err != nil {
			t.Fatal(err)
		}
		otherID, err := peer.IDFromPrivateKey(otherKey)
		if err != nil {
			t.Fatal(err)
		}
		for _, asClient := range []bool{true, false} {
			var done *handshaken
			var other sec.SecureConn
			a := func(c net.Conn) (err error) { done, err = ours.do(t.Context(), c, otherID, asClient); return err }
			b := func(c net.Conn) (err error) {
				if asClient {
					other, err = theirs.SecureInbound(t.Context(), c, ours.id)
				} else {
					other, err = theirs.SecureOutbound(t.Context(), c, ours.id)
				}
				return err
			}
			if !asClient {
				a, b = b, a
			}
			if errA, errB := shake(t, a, b); errA != nil || errB != nil {
				t.Fatalf("%s, client %v: %v, %v", name, asClient, errA, errB)
			}
			if done.peer != otherID || !done.key.Equals(otherKey.GetPublic()) || other.RemotePeer() != ours.id {
				t.Errorf("%s, client %v: the parties are confused", name, asClient)
			}
			if done.state != other.ConnState() || done.state.UsedEarlyMuxerNegotiation != (muxers != nil) {
				t.Errorf("%s, client %v: agreed on %+v, the other on %+v", name, asClient, done.state, other.ConnState())
			}
		}
	}
}

// TestExchange: between parties of ours, secrets do not depend on elliptic curves
// alone, and whoever has another exchange is served.
func TestExchange(t *testing.T) {
	alice, bob := newParty(t), newParty(t)
	var a, b *handshaken
	errA, errB := shake(t,
		func(c net.Conn) (err error) { a, err = alice.do(t.Context(), c, bob.id, true); return err },
		func(c net.Conn) (err error) { b, err = bob.do(t.Context(), c, "", false); return err })
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	for _, done := range []*handshaken{a, b} {
		if done.tls.CurveID != tls.SecP256r1MLKEM768 || done.tls.Version != tls.VersionTLS13 || done.tls.DidResume {
			t.Errorf("%v, %x, resumed: %v", done.tls.CurveID, done.tls.Version, done.tls.DidResume)
		}
	}
	if a.tls.HelloRetryRequest {
		t.Error("the client had to propose again")
	}
	for _, curve := range []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256} {
		client := &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{alice.certificate}, InsecureSkipVerify: true,
			NextProtos: []string{noMuxer}, CurvePreferences: []tls.CurveID{curve},
		}
		_, err := shake(t,
			func(c net.Conn) error { return tls.Client(c, client).HandshakeContext(t.Context()) },
			func(c net.Conn) (err error) { b, err = bob.do(t.Context(), c, alice.id, false); return err })
		if err != nil || b.tls.CurveID != curve {
			t.Errorf("%v: %v", curve, err)
		}
	}
}

// TestBadCertificates: nobody is taken for who has not signed the key.
func TestBadCertificates(t *testing.T) {
	alice, bob := newParty(t), newParty(t)
	key, err := newPrivateKey(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	certificate := func(change func(template *x509.Certificate, signer ed25519.PrivateKey)) tls.Certificate {
		t.Helper()
		signer := newKey(t).Ed25519()
		word, err := libp2ptls.GenerateSignedExtension(key, signer.Public())
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: alice.leaf(t).SerialNumber, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			ExtraExtensions: []pkix.Extension{word},
		}
		change(template, signer)
		raw, err := x509.CreateCertificate(nil, template, template, signer.Public(), signer)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: signer}
	}
	good := certificate(func(*x509.Certificate, ed25519.PrivateKey) {})
	type change = func(*x509.Certificate, ed25519.PrivateKey)
	for name, c := range map[string]struct {
		certificate tls.Certificate
		fine        bool
	}{
		"nothing wrong": {good, true},
		"critical":      {certificate(func(c *x509.Certificate, _ ed25519.PrivateKey) { c.ExtraExtensions[0].Critical = true }), true},
		"another critical extension": {certificate(func(c *x509.Certificate, _ ed25519.PrivateKey) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
		}), false},
		"no word":    {certificate(func(c *x509.Certificate, _ ed25519.PrivateKey) { c.ExtraExtensions = nil }), false},
		"empty word": {certificate(func(c *x509.Certificate, _ ed25519.PrivateKey) { c.ExtraExtensions[0].Value = nil }), false},
		"half a word": {certificate(func(c *x509.Certificate, _ ed25519.PrivateKey) {
			v := &c.ExtraExtensions[0].Value
			*v = (*v)[:len(*v)/2]
		}), false},
		"false word": {certificate(func(c *x509.Certificate, _ ed25519.PrivateKey) { v := c.ExtraExtensions[0].Value; v[len(v)-1] ^= 1 }), false},
		"word of another key": {certificate(func(c *x509.Certificate, _ ed25519.PrivateKey) {
			c.ExtraExtensions[0] = alice.leaf(t).Extensions[slices.IndexFunc(alice.leaf(t).Extensions, isWord)]
		}), false},
		"expired":   {certificate(func(c *x509.Certificate, _ ed25519.PrivateKey) { c.NotAfter = time.Now().Add(-time.Minute) }), false},
		"not yet":   {certificate(func(c *x509.Certificate, _ ed25519.PrivateKey) { c.NotBefore = time.Now().Add(time.Minute) }), false},
		"two of it": {tls.Certificate{Certificate: [][]byte{good.Certificate[0], good.Certificate[0]}, PrivateKey: good.PrivateKey}, false},
		"other's":   {tls.Certificate{Certificate: alice.certificate.Certificate, PrivateKey: good.PrivateKey}, false},
		"none":      {tls.Certificate{}, false},
	} {
		var done *handshaken
		client := &tls.Config{
			MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{noMuxer},
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c.certificate, nil },
		}
		_, err := shake(t,
			func(conn net.Conn) error { return tls.Client(conn, client).HandshakeContext(t.Context()) },
			func(conn net.Conn) (err error) { done, err = bob.do(t.Context(), conn, "", false); return err })
		switch {
		case c.fine && err != nil:
			t.Errorf("%s: %v", name, err)
		case !c.fine && err == nil:
			t.Errorf("%s: taken for %s", name, done.peer)
		case c.fine && !done.key.Equals(key.GetPublic()):
			t.Errorf("%s: taken for %s", name, done.peer)
		}
	}
}

func isWord(e pkix.Extension) bool {
	return e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 53594, 1, 1})
}

func (p party) leaf(t *testing.T) *x509.Certificate {
	t.Helper()
	leaf, err := x509.ParseCertificate(p.certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// TestIdentify has a certificate that crypto/tls shares among connections looked
// at by several, and hears of nothing that ends the process.
func TestIdentify(t *testing.T) {
	alice, bob := newParty(t), newParty(t)
	leaf := alice.leaf(t)
	leaf.Extensions[slices.IndexFunc(leaf.Extensions, isWord)].Critical = true
	leaf.UnhandledCriticalExtensions = []asn1.ObjectIdentifier{{1, 3, 6, 1, 4, 1, 53594, 1, 1}}
	failed := make(chan error, 4)
	for range cap(failed) {
		go func() {
			_, _, err := identify([]*x509.Certificate{leaf}, alice.id)
			failed <- err
		}()
	}
	for range cap(failed) {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if len(leaf.UnhandledCriticalExtensions) != 1 {
		t.Error("the certificate was changed")
	}
	if _, _, err := identify([]*x509.Certificate{leaf}, bob.id); !errors.As(err, &sec.ErrPeerIDMismatch{}) {
		t.Errorf("another peer: %v", err)
	}
	for name, chain := range map[string][]*x509.Certificate{"no certificate": nil, "nil": {nil}, "empty": {{}}} {
		if _, _, err := identify(chain, ""); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestCertificateKey signs no hashes, which crypto/ed25519 would sign otherwise.
func TestCertificateKey(t *testing.T) {
	key := certificateKey{newKey(t)}
	sig, err := key.Sign(nil, []byte("words"), &ed25519.Options{})
	if err != nil || !ed25519.Verify(key.Public().(ed25519.PublicKey), []byte("words"), sig) {
		t.Errorf("signature %x, %v", sig, err)
	}
	if _, err := key.Sign(nil, make([]byte, 64), &ed25519.Options{Hash: 7}); err == nil {
		t.Error("a hash was signed")
	}
}

// TestClosedByFailure: whoever waits at the other end of a failed handshake hears
// of it.
func TestClosedByFailure(t *testing.T) {
	alice := newParty(t)
	for _, asClient := range []bool{true, false} {
		ours, theirs := rawPair(t)
		go theirs.Write([]byte("no handshake at all"))
		if _, err := alice.do(t.Context(), ours, "", asClient); err == nil {
			t.Error("no error")
		}
		theirs.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.Copy(io.Discard, theirs); errors.Is(err, net.ErrClosed) || err != nil && err.(net.Error).Timeout() {
			t.Errorf("the connection is still there: %v", err)
		}
	}
}
