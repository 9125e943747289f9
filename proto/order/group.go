package order

import (
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
)

// Group is a placement group at one epoch: slot i is held by Nodes[i].
type Group struct {
	Satellite ident.ID
	ID        uint32 // from 1
	Epoch     uint64 // from 1; a change of nodes makes the next one
	Scheme    erasure.Scheme
	Nodes     []ident.ID // Scheme.Total of them, all different
	Issued    time.Time  // whole seconds
}

// SlotOf says which slot a node holds, and whether it holds one at all.
func (g *Group) SlotOf(node ident.ID) (int, bool) {
	for i := range g.Nodes {
		if g.Nodes[i] == node {
			return i, true
		}
	}
	return 0, false
}

// Validate returns an error wrapping ErrMalformed when g cannot be a group.
func (g *Group) Validate() error {
	if g.Satellite.IsZero() {
		return refuse(ErrMalformed, "group has no satellite")
	}
	if g.ID == 0 || g.Epoch == 0 {
		return refuse(ErrMalformed, "group %d epoch %d: both count from 1", g.ID, g.Epoch)
	}
	if err := g.Scheme.Validate(); err != nil {
		return refuse(ErrMalformed, "group %d: %v", g.ID, err)
	}
	if len(g.Nodes) != g.Scheme.Total {
		return refuse(ErrMalformed, "group %d has %d nodes for %d slots", g.ID, len(g.Nodes), g.Scheme.Total)
	}
	seen := make(map[ident.ID]int, len(g.Nodes))
	for slot, node := range g.Nodes {
		if node.IsZero() {
			return refuse(ErrMalformed, "group %d slot %d has no node", g.ID, slot)
		}
		if first, twice := seen[node]; twice {
			return refuse(ErrMalformed, "group %d has node %s in slots %d and %d", g.ID, node, first, slot)
		}
		seen[node] = slot
	}
	_, err := timeField(g.Issued.Unix(), "issued")
	return err
}

// SignGroup signs g with the satellite's key.
func SignGroup(key ident.Key, g *Group) (*pb.Signed, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	if err := ownKey(key, g.Satellite, "satellite"); err != nil {
		return nil, err
	}
	m := &pb.GroupRecord{
		Satellite: g.Satellite[:],
		Group:     g.ID,
		Epoch:     g.Epoch,
		Scheme: &pb.Scheme{
			Required:    uint32(g.Scheme.Required),
			RepairBelow: uint32(g.Scheme.RepairBelow),
			Success:     uint32(g.Scheme.Success),
			Total:       uint32(g.Scheme.Total),
		},
		Nodes:  make([][]byte, len(g.Nodes)),
		Issued: g.Issued.Unix(),
	}
	for i := range g.Nodes {
		m.Nodes[i] = g.Nodes[i][:]
	}
	return sign(key, contextGroup, m)
}

// OpenGroup returns the group record that satellite signed. Errors wrap
// ErrMalformed, ErrSignature or, when the record names another satellite,
// ErrPeer.
func OpenGroup(signed *pb.Signed, satellite ident.ID) (*Group, error) {
	var m pb.GroupRecord
	if err := open(signed, satellite, contextGroup, &m); err != nil {
		return nil, err
	}
	g := &Group{ID: m.Group, Epoch: m.Epoch, Scheme: schemeOf(m.Scheme)}
	var err error
	if g.Satellite, err = signerField(m.Satellite, satellite, "satellite"); err != nil {
		return nil, err
	}
	if g.Issued, err = timeField(m.Issued, "issued"); err != nil {
		return nil, err
	}
	g.Nodes = make([]ident.ID, len(m.Nodes))
	for i := range m.Nodes {
		if g.Nodes[i], err = idField(m.Nodes[i], "node"); err != nil {
			return nil, err
		}
	}
	if err := g.Validate(); err != nil {
		return nil, err
	}
	return g, nil
}

// schemeOf does not let a number wrap into a small one; Validate refuses the
// rest.
func schemeOf(m *pb.Scheme) erasure.Scheme {
	n := func(v uint32) int { return int(min(v, 1<<16)) }
	return erasure.Scheme{
		Required:    n(m.GetRequired()),
		RepairBelow: n(m.GetRepairBelow()),
		Success:     n(m.GetSuccess()),
		Total:       n(m.GetTotal()),
	}
}

// ownKey keeps a party from signing in another's name.
func ownKey(key ident.Key, id ident.ID, what string) error {
	if key.ID() != id {
		return refuse(ErrPeer, "%s of the record is %s, the key is of %s", what, id, key.ID())
	}
	return nil
}

// signerField reads who a record says its signer is.
func signerField(b []byte, signer ident.ID, what string) (ident.ID, error) {
	id, err := idField(b, what)
	if err != nil {
		return ident.ID{}, err
	}
	if id != signer {
		return ident.ID{}, refuse(ErrPeer, "%s of the record is %s, its signer is %s", what, id, signer)
	}
	return id, nil
}
