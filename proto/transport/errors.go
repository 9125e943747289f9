package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	mss "github.com/multiformats/go-multistream"
)

// explain says in few words what befell a stream. io.EOF stays as it is.
func (s *Stream) explain(err error) error {
	if err == nil || err == io.EOF {
		return err // before anything is allocated for what follows
	}
	var unspoken mss.ErrNotSupported[protocol.ID]
	var cut *network.StreamError
	switch {
	case errors.As(err, &unspoken):
		return fmt.Errorf("%w: peer %s does not speak %s", ErrProtocol, s.remote.Short(), s.protocol)
	case isTimeout(err):
		return fmt.Errorf("peer %s: %w", s.remote.Short(), ErrStalled)
	case errors.As(err, &cut) && cut.Remote && cut.ErrorCode == network.StreamResourceLimitExceeded:
		return fmt.Errorf("peer %s: %w", s.remote.Short(), ErrBusy)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("peer %s: %w: it closed too early", s.remote.Short(), ErrReset)
	default:
		return fmt.Errorf("peer %s: %w", s.remote.Short(), ErrReset)
	}
}

// explainDial says why no connection to a peer can be had: the cause alone if
// all its addresses failed alike, each with its cause otherwise.
func explainDial(to Address, err error) error {
	if errors.Is(err, swarm.ErrSwarmClosed) {
		return ErrClosed
	}
	var dial *swarm.DialError
	if !errors.As(err, &dial) || len(dial.DialErrors) == 0 {
		return unreachable(to, strings.Join(to.Addrs, ", "), cause(err))
	}
	first := cause(dial.DialErrors[0].Cause)
	where := make([]string, 0, len(dial.DialErrors))
	each := make([]string, 0, len(dial.DialErrors))
	alike := true
	for _, failed := range dial.DialErrors {
		why := cause(failed.Cause)
		alike = alike && why.Error() == first.Error()
		if errors.Is(why, ErrWrongPeer) {
			first = why // it says most
		}
		where = append(where, failed.Address.String())
		each = append(each, failed.Address.String()+": "+why.Error())
	}
	if alike {
		return unreachable(to, strings.Join(where, ", "), first)
	}
	return &dialError{text: fmt.Sprintf("peer %s: %s", to.ID.Short(), strings.Join(each, "; ")), cause: first}
}

func unreachable(to Address, where string, why error) error {
	return &dialError{text: fmt.Sprintf("peer %s at %s: %s", to.ID.Short(), where, why), cause: why}
}

// dialError is ErrUnreachable and its cause, in one short line.
type dialError struct {
	text  string
	cause error
}

func (e *dialError) Error() string   { return e.text }
func (e *dialError) Unwrap() []error { return []error{ErrUnreachable, e.cause} }

// cause finds the plain reason in what libp2p and the system say.
func cause(err error) error {
	var wrong sec.ErrPeerIDMismatch
	var ended *network.ConnError
	var dns *net.DNSError
	var number syscall.Errno
	switch {
	case errors.As(err, &wrong):
		return fmt.Errorf("%w: %s", ErrWrongPeer, wrong.Actual)
	case errors.As(err, &ended) && ended.ErrorCode == network.ConnResourceLimitExceeded:
		return ErrBusy
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case isTimeout(err):
		return errors.New("no answer")
	case errors.As(err, &dns):
		return errors.New("no such host name")
	case errors.Is(err, swarm.ErrDialToSelf):
		return errors.New("that is this party itself")
	case errors.Is(err, swarm.ErrGaterDisallowedConnection):
		return errors.New("not let in here")
	case errors.Is(err, swarm.ErrNoTransport):
		return errors.New("no transport for such an address")
	case errors.Is(err, swarm.ErrNoAddresses), errors.Is(err, swarm.ErrNoGoodAddresses):
		return errors.New("no usable address (does its host name resolve?)")
	case errors.As(err, &number):
		return number
	case errors.Is(err, network.ErrResourceLimitExceeded):
		return errors.New("too many connections here")
	case errors.Is(err, io.EOF), errors.Is(err, network.ErrReset):
		return errors.New("it closed the connection")
	default:
		return errors.New(strings.Join(strings.Fields(err.Error()), " "))
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout()
}

// InUse reports whether New failed because another process listens on a port that
// was asked for. Not every layer below keeps the chain of errors.
func InUse(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || strings.Contains(err.Error(), syscall.EADDRINUSE.Error())
}
