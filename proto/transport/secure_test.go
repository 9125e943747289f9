package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"

	"github.com/cairnstorage/cairn/proto/record"
)

// party is somebody who secures connections.
type party struct {
	*secureTransport
	id  peer.ID
	key crypto.PubKey
}

func newParty(t *testing.T) party {
	t.Helper()
	key, err := newPrivateKey(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return partyOf(t, key)
}

func partyOf(t *testing.T, key crypto.PrivKey) party {
	t.Helper()
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSecureTransport(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	return party{s, id, key.GetPublic()}
}

// rawPair is a connection over loopback.
func rawPair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if client, err = net.Dial("tcp", listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// holding keeps back what is written, after the first time, until it is told.
type holding struct {
	net.Conn
	first bool
	held  []byte
}

func (h *holding) Write(p []byte) (int, error) {
	if !h.first {
		h.first = true
		return h.Conn.Write(p)
	}
	h.held = append(h.held, p...)
	return len(p), nil
}

// TestTakeOver has the last words of a handshake arrive together with the first
// records: neither layer may take what belongs to the other.
func TestTakeOver(t *testing.T) {
	alice, bob := newParty(t), newParty(t)
	client, server := rawPair(t)
	late := &holding{Conn: client}
	secured := make(chan sec.SecureConn, 1)
	go func() {
		c, err := bob.SecureInbound(t.Context(), server, "")
		if err != nil {
			t.Error(err)
		}
		secured <- c
	}()
	a, err := alice.SecureOutbound(t.Context(), late, bob.id)
	if err != nil {
		t.Fatal(err)
	}
	message := bytes.Repeat([]byte("first words "), 10_000)
	if _, err := a.Write(message); err != nil {
		t.Fatal(err)
	}
	go client.Write(late.held)
	b := <-secured
	if b == nil {
		t.FailNow()
	}
	got := make([]byte, len(message))
	if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, message) {
		t.Fatalf("received otherwise: %v", err)
	}
	if a.RemotePeer() != bob.id || b.RemotePeer() != alice.id || a.LocalPeer() != alice.id || b.LocalPeer() != bob.id {
		t.Error("the parties are confused")
	}
	if !b.RemotePublicKey().Equals(alice.key) {
		t.Error("another public key")
	}
}

// TestSecureWrongPeer is about both ends of a handshake with somebody else.
func TestSecureWrongPeer(t *testing.T) {
	alice, bob, carol := newParty(t), newParty(t), newParty(t)
	client, server := rawPair(t)
	refused := make(chan error, 1)
	go func() {
		_, err := bob.SecureInbound(t.Context(), server, "")
		refused <- err
	}()
	_, err := alice.SecureOutbound(t.Context(), client, carol.id)
	if wrong := (sec.ErrPeerIDMismatch{}); !errors.As(err, &wrong) || wrong.Actual != bob.id {
		t.Errorf("the client: %v", err)
	}
	if <-refused == nil {
		t.Error("the server noticed nothing")
	}
}

// TestFalseName has one end, then the other, claim a name without its key.
func TestFalseName(t *testing.T) {
	bob := newParty(t)
	name, err := crypto.UnmarshalEd25519PrivateKey(newKey(t).Ed25519())
	if err != nil {
		t.Fatal(err)
	}
	mallory := partyOf(t, privateKey{name, newKey(t)})
	for _, from := range []struct{ client, server party }{{mallory, bob}, {bob, mallory}} {
		client, server := rawPair(t)
		accepted := make(chan error, 1)
		go func() {
			_, err := from.server.SecureInbound(t.Context(), server, "")
			accepted <- err
		}()
		_, errClient := from.client.SecureOutbound(t.Context(), client, from.server.id)
		errServer := <-accepted
		if from.client.id == bob.id && errClient == nil || from.server.id == bob.id && errServer == nil {
			t.Errorf("client %v, server %v", errClient, errServer)
		}
	}
}

// TestRefused is what a client gets to know when the server does not want it: it
// has finished the handshake by then.
func TestRefused(t *testing.T) {
	alice, bob, carol := newParty(t), newParty(t), newParty(t)
	client, server := rawPair(t)
	go bob.SecureInbound(t.Context(), server, carol.id)
	a, err := alice.SecureOutbound(t.Context(), client, bob.id)
	if err == nil {
		_, err = a.Read(make([]byte, 1))
	}
	if !errors.Is(err, record.ErrRefused) {
		t.Error(err)
	}
}

// TestOwnSecrets sees to it that each connection has secrets of its own.
func TestOwnSecrets(t *testing.T) {
	alice, bob := newParty(t), newParty(t)
	sent := make(map[string]bool)
	for range 3 {
		client, server := rawPair(t)
		tap := &tapped{Conn: client}
		secured := make(chan sec.SecureConn, 1)
		go func() {
			c, _ := bob.SecureInbound(context.Background(), server, "")
			secured <- c
		}()
		a, err := alice.SecureOutbound(t.Context(), tap, bob.id)
		if err != nil {
			t.Fatal(err)
		}
		<-secured
		tap.sent = nil
		if _, err := a.Write([]byte("the same words")); err != nil {
			t.Fatal(err)
		}
		if text := string(tap.sent); sent[text] || strings.Contains(text, "words") {
			t.Errorf("sent %x", text)
		}
		sent[string(tap.sent)] = true
	}
}

type tapped struct {
	net.Conn
	sent []byte
}

func (c *tapped) Write(p []byte) (int, error) {
	c.sent = append(c.sent, p...)
	return c.Conn.Write(p)
}

// TestExactReader reads through records of all sizes in pieces of all sizes.
func TestExactReader(t *testing.T) {
	var raw []byte
	for _, size := range []int{0, 1, 255, 256, 16 << 10} {
		raw = append(raw, 22, 3, 3, byte(size>>8), byte(size))
		raw = append(raw, make([]byte, size)...)
	}
	whole := len(raw)
	raw = append(raw, "the rest"...)
	for _, size := range []int{1, 4, 5, 6, 1000, 64 << 10} {
		under := bytes.NewReader(raw)
		r := &exactReader{Conn: reading{Reader: under}}
		p := make([]byte, size)
		for read := 0; read < whole; {
			n, err := r.Read(p)
			if err != nil {
				t.Fatal(err)
			}
			read += n
			if left := under.Len() + read; left != len(raw) {
				t.Fatalf("%d bytes are lost", len(raw)-left)
			}
		}
		if rest, _ := io.ReadAll(under); string(rest) != "the rest" {
			t.Errorf("%d at a time: %q is left", size, rest)
		}
	}
}

type reading struct {
	net.Conn
	io.Reader
}

func (r reading) Read(p []byte) (int, error) { return r.Reader.Read(p) }
