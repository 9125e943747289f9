package satclient

import (
	"context"

	"github.com/cairnstorage/cairn/proto/pb"
)

// The Nodes service, for storage nodes. A node calls in its own rhythm, so
// nothing here is repeated.

// CheckIn reports a node and brings its news.
func (c *Client) CheckIn(ctx context.Context, req *pb.CheckInRequest) (*pb.CheckInResponse, error) {
	return call(ctx, c, false, c.nodes.CheckIn, req)
}

// Journal reads a group's journal: ErrGroupNotFound when the node holds no
// slot of it.
func (c *Client) Journal(ctx context.Context, req *pb.JournalRequest) (*pb.JournalResponse, error) {
	return call(ctx, c, false, c.nodes.Journal, req)
}

// Contest shows a satellite that it has lost journal entries.
func (c *Client) Contest(ctx context.Context, req *pb.ContestRequest) (*pb.ContestResponse, error) {
	return call(ctx, c, false, c.nodes.Contest, req)
}
