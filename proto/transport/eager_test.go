package transport

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	manet "github.com/multiformats/go-multiaddr/net"
)

// silent listens for a connection, says nothing and hands over what comes.
func silent(t *testing.T) (Address, <-chan net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	conns := make(chan net.Conn, 1)
	go func() {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		t.Cleanup(func() { c.Close() })
		conns <- c
	}()
	addr, err := manet.FromNetAddr(listener.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return Address{ID: newKey(t).ID(), Addrs: []string{addr.String()}}, conns
}

// TestHandshakeGoesAhead has a peer that never agrees to anything: it is sent the
// first message of the handshake all the same.
func TestHandshakeGoesAhead(t *testing.T) {
	to, conns := silent(t)
	client := newHost(t, nil)
	go client.Connect(t.Context(), to)
	c := <-conns
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	got := make([]byte, len(agreement)+5)
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if proposal := string(got[:len(agreement)]); proposal != agreement {
		t.Errorf("proposed %q", proposal)
	}
	if hello := got[len(agreement):]; hello[0] != 22 || hello[1] != 3 { // a TLS record of a handshake
		t.Errorf("and then %x", hello)
	}
}

// TestHandshakeRefused has peers that do not agree.
func TestHandshakeRefused(t *testing.T) {
	for name, answer := range map[string]string{
		"not supported": token("/multistream/1.0.0") + token("na"),
		"another":       token("/multistream/1.0.0") + token("/tls/1.0.0"),
		"no words":      "HTTP/1.1 400 Bad Request\r\n\r\n",
		"nothing":       "",
	} {
		t.Run(name, func(t *testing.T) {
			to, conns := silent(t)
			client := newHost(t, nil)
			result := make(chan error, 1)
			go func() { result <- client.Connect(t.Context(), to) }()
			c := <-conns
			io.WriteString(c, answer)
			c.(*net.TCPConn).CloseWrite()
			go io.Copy(io.Discard, c)
			if err := <-result; !errors.Is(err, ErrUnreachable) || len(err.Error()) > 300 {
				t.Errorf("got %v", err)
			}
		})
	}
}
