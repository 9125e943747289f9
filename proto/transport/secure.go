package transport

import (
	"context"
	"io"
	"math"
	"net"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
)

const (
	initialWindow = 1 << 20 // smaller ones cost a quarter of the throughput
	maxWindow     = 4 << 20 // 40 MB/s per stream at 100 ms
	maxMessage    = 512 << 10
)

// newMuxer is yamux with windows and messages for bulk data. The write timeout
// has to let a whole message through a slow link.
func newMuxer() *yamux.Transport {
	muxer := *yamux.DefaultTransport
	muxer.InitialStreamWindowSize = initialWindow
	muxer.MaxStreamWindowSize = maxWindow
	muxer.MaxMessageSize = maxMessage
	muxer.ConnectionWriteTimeout = time.Minute
	muxer.MaxIncomingStreams = math.MaxUint32 // the resource manager bounds them
	muxer.LogOutput = io.Discard
	return &muxer
}

// security is libp2p's TLS 1.3 over connections that gather the records of one
// write: crypto/tls would make a system call for each 16 KiB.
type security struct {
	*libp2ptls.Transport
	buffers sync.Pool // of *[]byte
}

func newSecurity(id protocol.ID, key crypto.PrivKey, muxers []upgrader.StreamMuxer) (*security, error) {
	inner, err := libp2ptls.New(id, key, muxers)
	if err != nil {
		return nil, err
	}
	return &security{Transport: inner, buffers: sync.Pool{New: func() any { return new([]byte) }}}, nil
}

func (s *security) SecureInbound(ctx context.Context, raw net.Conn, p peer.ID) (sec.SecureConn, error) {
	g := &gatherer{Conn: raw, buffers: &s.buffers}
	conn, err := s.Transport.SecureInbound(ctx, g, p)
	if err != nil {
		return nil, err
	}
	return &gathered{SecureConn: conn, out: g}, nil
}

func (s *security) SecureOutbound(ctx context.Context, raw net.Conn, p peer.ID) (sec.SecureConn, error) {
	g := &gatherer{Conn: raw, buffers: &s.buffers}
	conn, err := s.Transport.SecureOutbound(ctx, g, p)
	if err != nil {
		return nil, err
	}
	return &gathered{SecureConn: conn, out: g}, nil
}

// gathered is a TLS connection whose Write reaches the socket in one piece.
type gathered struct {
	sec.SecureConn
	out *gatherer
}

func (c *gathered) Write(p []byte) (int, error) {
	if len(p) <= oneRecord {
		return c.SecureConn.Write(p)
	}
	c.out.hold()
	n, err := c.SecureConn.Write(p)
	if flushErr := c.out.release(); err == nil {
		err = flushErr
	}
	return n, err
}

// oneRecord is a length that crypto/tls never splits: it starts connections with
// records that fit a packet.
const oneRecord = 1 << 10

// gatherer is the raw connection beneath TLS. While held it keeps what is
// written; TLS may also write from its reader, so there is a lock.
type gatherer struct {
	net.Conn
	buffers *sync.Pool

	mu     sync.Mutex
	buffer *[]byte // nil: not held
}

func (g *gatherer) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.buffer == nil {
		return g.Conn.Write(p)
	}
	*g.buffer = append(*g.buffer, p...)
	return len(p), nil
}

func (g *gatherer) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.buffer = g.buffers.Get().(*[]byte)
}

func (g *gatherer) release() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	buffer := g.buffer
	g.buffer = nil
	_, err := g.Conn.Write(*buffer)
	*buffer = (*buffer)[:0]
	g.buffers.Put(buffer)
	return err
}
