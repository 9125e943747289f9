package storagenode

import (
	"strings"
	"sync/atomic"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/wire"
)

// serverCounts is what a Server has done since it was made.
type serverCounts struct {
	put, got   atomic.Uint64 // bytes of shards taken in and given out
	requests   [requestKinds][outcomes]atomic.Uint64
	audits     atomic.Uint64                        // answered to their end
	challenges [order.Unavailable + 1]atomic.Uint64 // by the status of the answer
}

// request is what a peer asks for on a shard stream.
type request int

const (
	requestOpen request = iota // only those that fail are counted
	requestPut
	requestGet
	requestProve
	requestRoots
	requestKinds
)

var requestNames = [requestKinds]string{"open", "put", "get", "prove", "roots"}

// outcome is how a request ended: well, with the code of a failure, or in one of
// the ways that have no code.
type outcome int

const (
	outcomeOK        = outcome(pb.Code_CODE_UNSPECIFIED) // which no failure has
	outcomeCancelled = 14
	outcomeBroken    = 15 // the peer went away, or stalled
	outcomes         = 16
)

func (o outcome) String() string {
	switch o {
	case outcomeOK:
		return "ok"
	case outcomeCancelled:
		return "cancelled"
	case outcomeBroken:
		return "broken"
	}
	return strings.ToLower(strings.TrimPrefix(pb.Code(o).String(), "CODE_"))
}

// answered counts a request that has ended with err, which it returns.
func (c *session) answered(r request, err error) error {
	o := outcomeOK
	switch {
	case err == nil:
	case streamBroke(err):
		o = outcomeBroken
	default:
		o = outcome(wire.ToFail(c.tell(err)).Code)
	}
	c.counts.requests[r][o].Add(1)
	return err
}
