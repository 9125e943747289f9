package satellite

import (
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// group is a placement group at its newest epoch. It is never changed.
type group struct {
	order.Group
	record *pb.Signed
}

// groups is the satellite's view in memory of its placement groups. It is
// safe for concurrent use.
type groups struct {
	registry *registry
}

// forPut chooses a group to put segments to, weighted by free space: one with
// enough slots online and with room, and not excluded. The error is
// satclient.ErrTooFewNodes and says what is missing.
func (g *groups) forPut(exclude []uint32) (*group, error) { return nil, satclient.ErrTooFewNodes }

// get returns a group at its newest epoch, or satclient.ErrGroupNotFound.
func (g *groups) get(id uint32) (*group, error) { return nil, satclient.ErrGroupNotFound }
