package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/cairnstorage/cairn/proto/mux"
)

const (
	// muxProtocol is what peers call it.
	muxProtocol protocol.ID = "/yamux/1.0.0"

	maxMessage = 256<<10 + 1<<5 // room for the largest data frame
	leadSize   = 5              // which begins with a header of so many bytes

	// Half of a slow message may be sent when this is over: 9 KB/s will do.
	muxWriteTimeout = time.Minute
	muxKeepAlive    = 30 * time.Second
)

// muxer is libp2p's view of sessions whose streams have such windows.
type muxer struct{ window int }

// NewConn is network.Multiplexer.
func (m muxer) NewConn(conn net.Conn, isServer bool, scope network.PeerScope) (network.MuxedConn, error) {
	return muxedConn{mux.New(conn, !isServer, mux.Config{
		Window: m.window, MaxMessage: maxMessage, Lead: leadSize, WriteTimeout: muxWriteTimeout, KeepAlive: muxKeepAlive,
		Reserve: func() (func(), error) { return reserve(scope) },
	})}, nil
}

// reserve accounts for the window that a stream begins with.
func reserve(scope network.PeerScope) (release func(), err error) {
	if scope == nil {
		return func() {}, nil
	}
	span, err := scope.BeginSpan()
	if err != nil {
		return nil, err
	}
	if err := span.ReserveMemory(mux.LeastWindow, network.ReservationPriorityAlways); err != nil {
		span.Done()
		return nil, err
	}
	return span.Done, nil
}

type muxedConn struct{ *mux.Session }

func (c muxedConn) As(any) bool { return false }

func (c muxedConn) CloseWithError(code network.ConnErrorCode) error {
	return c.Session.CloseWithError(uint32(code))
}

func (c muxedConn) OpenStream(ctx context.Context) (network.MuxedStream, error) {
	s, err := c.Session.OpenStream(ctx)
	if err != nil {
		return nil, muxError(err)
	}
	return muxedStream{s}, nil
}

func (c muxedConn) AcceptStream() (network.MuxedStream, error) {
	s, err := c.Session.AcceptStream()
	if err != nil {
		return nil, muxError(err)
	}
	return muxedStream{s}, nil
}

type muxedStream struct{ *mux.Stream }

func (s muxedStream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	return n, muxError(err)
}

func (s muxedStream) Write(p []byte) (int, error) {
	n, err := s.Stream.Write(p)
	return n, muxError(err)
}

func (s muxedStream) CloseWrite() error { return muxError(s.Stream.CloseWrite()) }

func (s muxedStream) Close() error { return muxError(s.Stream.Close()) }

func (s muxedStream) Reset() error { return s.ResetWithError(0) }

func (s muxedStream) ResetWithError(code network.StreamErrorCode) error {
	s.Stream.Reset(uint32(code))
	return nil
}

// muxError has the errors of libp2p in it.
func muxError(err error) error {
	if err == nil {
		return nil
	}
	var stream *mux.StreamError
	var session *mux.GoAwayError
	switch {
	case errors.As(err, &stream):
		return &network.StreamError{Remote: stream.Remote, ErrorCode: network.StreamErrorCode(stream.Code), TransportError: err}
	case errors.As(err, &session):
		return &network.ConnError{Remote: session.Remote, ErrorCode: network.ConnErrorCode(session.Code), TransportError: err}
	case errors.Is(err, mux.ErrReset):
		return fmt.Errorf("%w: %w", network.ErrReset, err)
	}
	return err
}
