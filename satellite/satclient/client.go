// Package satclient speaks to a satellite: for uplinks its Metadata service,
// for storage nodes its Nodes service. It adds deadlines, retries and typed
// errors to the generated client and nothing else.
package satclient

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
)

// APIKeyHeader is the gRPC metadata entry that carries the API key.
const APIKeyHeader = "cairn-api-key-bin"

// The largest requests a satellite accepts, in bytes: of uplinks, with room for
// 1,000 of the longest keys, and of nodes.
const (
	MaxMessage     = 5 << 20
	MaxNodeMessage = 64 << 10
)

// Options of a client; the zero value is good.
type Options struct {
	// APIKey is the serialised macaroon that uplinks show; nodes have none, and
	// without one New reaches the Nodes service alone.
	APIKey []byte
	// Timeout of one attempt of a call; 0 means 30 s.
	Timeout time.Duration
	// Patience is how long a call that may be repeated is repeated while the
	// satellite is unreachable; 0 means 10 s, negative means one attempt.
	Patience time.Duration
}

// Client calls one satellite. It is safe for concurrent use. Every method
// returns an error of this package's table or a context error.
type Client struct {
	close   func() error
	options Options
	meta    pb.MetadataClient
	nodes   pb.NodesClient
}

// NewClient returns a client over an existing connection. Closing the
// connection stays with the caller.
func NewClient(conn grpc.ClientConnInterface, o Options) *Client {
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Patience == 0 {
		o.Patience = 10 * time.Second
	}
	return &Client{
		close:   func() error { return nil },
		options: o,
		meta:    pb.NewMetadataClient(conn),
		nodes:   pb.NewNodesClient(conn),
	}
}

// New returns a client of the satellite at address, over its own connection,
// which is made at the first call and again when it is lost.
func New(host *transport.Host, address transport.Address, o Options) (*Client, error) {
	proto := transport.SatelliteProtocol
	if len(o.APIKey) == 0 {
		proto = transport.NodesProtocol
	}
	conn, err := host.DialGRPC(address, proto)
	if err != nil {
		return nil, fmt.Errorf("satclient: %w", err)
	}
	c := NewClient(conn, o)
	c.close = conn.Close
	return c, nil
}

// Close releases the connection when the client opened it itself.
func (c *Client) Close() error { return c.close() }

// call runs one unary call with the client's rules. Calls that may be sent
// again, though the satellite perhaps got them, are repeated while it is
// unreachable.
func call[Req, Res any](ctx context.Context, c *Client, repeat bool,
	method func(context.Context, *Req, ...grpc.CallOption) (*Res, error), req *Req) (*Res, error) {

	if len(c.options.APIKey) > 0 {
		ctx = metadata.AppendToOutgoingContext(ctx, APIKeyHeader, string(c.options.APIKey))
	}
	attempt := func() (*Res, error) {
		attemptCtx, cancel := context.WithTimeout(ctx, c.options.Timeout)
		defer cancel()
		res, err := method(attemptCtx, req)
		return res, c.explain(ctx, err)
	}
	if !repeat || c.options.Patience < 0 {
		return attempt()
	}
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 50*time.Millisecond, 2*time.Second
	return backoff.Retry(ctx, func() (*Res, error) {
		res, err := attempt()
		if err != nil && !errors.Is(err, ErrUnavailable) {
			return nil, backoff.Permanent(err)
		}
		return res, err
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(c.options.Patience))
}

// explain turns the error of one attempt into one of the table. The caller's
// own deadline or cancellation comes back as what it is.
func (c *Client) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err = FromStatus(err)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: no answer within %v", ErrUnavailable, c.options.Timeout)
	}
	return err
}
