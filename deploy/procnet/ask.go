package procnet

import (
	"context"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite"
	"github.com/cairnstorage/cairn/storagenode"
)

// Admin has fn talk to the running satellite as its operator would.
func (n *Network) Admin(ctx context.Context, fn func(pb.AdminClient) error) error {
	client, done, err := satellite.DialAdmin(ctx, n.satelliteDir())
	if err != nil {
		return err
	}
	defer done()
	return fn(client)
}

// Status asks the running satellite how it is.
func (n *Network) Status(ctx context.Context) (status *pb.StatusResponse, err error) {
	err = n.Admin(ctx, func(c pb.AdminClient) error {
		status, err = c.Status(ctx, &pb.StatusRequest{})
		return err
	})
	return status, err
}

// NodeInfo asks node i, which must run, how it is.
func (n *Network) NodeInfo(ctx context.Context, i int) (*pb.InfoResponse, error) {
	return storagenode.AskInfo(ctx, n.NodeDir(i))
}

// Scrub has node i read all that it holds, and waits for that.
func (n *Network) Scrub(ctx context.Context, i int) (*pb.Scrubbing, error) {
	return storagenode.AskScrub(ctx, n.NodeDir(i))
}
