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

// Claim hands in what the node holds of its groups.
func (c *Client) Claim(ctx context.Context, req *pb.ClaimRequest) (*pb.ClaimResponse, error) {
	return call(ctx, c, false, c.nodes.Claim, req)
}

// Peers leases a group to the node, to get shards from its other holders.
func (c *Client) Peers(ctx context.Context, req *pb.PeersRequest) (*pb.PeersResponse, error) {
	return call(ctx, c, false, c.nodes.Peers, req)
}

// ReportSegment tells of a segment that its uplink encoded wrong.
func (c *Client) ReportSegment(ctx context.Context, req *pb.ReportSegmentRequest) (*pb.ReportSegmentResponse, error) {
	return call(ctx, c, false, c.nodes.ReportSegment, req)
}

// Exit asks for the node to be replaced in all its groups.
func (c *Client) Exit(ctx context.Context, req *pb.ExitRequest) (*pb.ExitResponse, error) {
	return call(ctx, c, false, c.nodes.Exit, req)
}
