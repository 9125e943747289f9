package transport

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	testsuite "github.com/libp2p/go-libp2p/p2p/muxer/testsuite"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"

	"github.com/cairnstorage/cairn/proto/internal/golden"
	"github.com/cairnstorage/cairn/proto/mux"
)

// mixed has each end of a connection multiplexed by another implementation.
type mixed struct{ client, server network.Multiplexer }

func (m mixed) NewConn(c net.Conn, isServer bool, scope network.PeerScope) (network.MuxedConn, error) {
	if isServer {
		return m.server.NewConn(c, isServer, scope)
	}
	return m.client.NewConn(c, isServer, scope)
}

// TestMuxer is what libp2p asks of a multiplexer, and that ours and its own
// understand each other.
func TestMuxer(t *testing.T) {
	t.Setenv("CI", "true") // libp2p then grants its slowest test ten times as long
	least, large := muxer{mux.LeastWindow}, muxer{FarWindow}
	for name, m := range map[string]network.Multiplexer{
		"ours":       mixed{least, large},
		"our server": mixed{yamux.DefaultTransport, large},
		"our client": mixed{large, yamux.DefaultTransport},
	} {
		t.Run(name, func(t *testing.T) {
			for title, subtest := range testsuite.Subtests {
				// Hundreds of streams at a time are no matter of who the peer is.
				if name == "ours" || !strings.Contains(title, "SubtestStress") {
					t.Run(title, func(t *testing.T) { subtest(t, m) })
				}
			}
		})
	}
}

// TestMuxersMoveBytes moves more than any window either way between ours and
// libp2p's own, over several streams at a time.
func TestMuxersMoveBytes(t *testing.T) {
	for name, m := range map[string]mixed{
		"ours":       {muxer{mux.LeastWindow}, muxer{FarWindow}},
		"our server": {yamux.DefaultTransport, muxer{mux.LeastWindow}},
		"our client": {muxer{mux.LeastWindow}, yamux.DefaultTransport},
	} {
		t.Run(name, func(t *testing.T) {
			client, server := muxedPair(t, m)
			go func() {
				for {
					s, err := server.AcceptStream()
					if err != nil {
						return
					}
					go func() {
						defer s.Close()
						io.Copy(s, s)
					}()
				}
			}()
			const streams, size = 3, 3*FarWindow + 1
			data := golden.Bytes("data", size)
			done := make(chan error)
			for range streams {
				go func() { done <- echoed(client, data) }()
			}
			for range streams {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func echoed(conn network.MuxedConn, data []byte) error {
	s, err := conn.OpenStream(context.Background())
	if err != nil {
		return err
	}
	go func() {
		s.Write(data)
		s.CloseWrite()
	}()
	got, err := io.ReadAll(s)
	if err == nil && string(got) != string(data) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func muxedPair(t testing.TB, m network.Multiplexer) (client, server network.MuxedConn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	a, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if client, err = m.NewConn(a, false, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if server, err = m.NewConn(b, true, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}
