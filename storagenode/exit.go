package storagenode

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc/status"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/storagenode/internal/durable"
)

const troubleDeparture = "departure"

// ErrNotDeparted is returned by ReadDeparture when no satellite has said that the
// node may go.
var ErrNotDeparted = errors.New("the node has not handed over its slots")

// departureJSON is the content of the departure file: the record as it was
// signed, and what it says.
type departureJSON struct {
	Satellite ident.ID  `json:"satellite"`
	Node      ident.ID  `json:"node"`
	Slots     uint32    `json:"slots_handed_over"`
	Completed time.Time `json:"completed"`
	Body      []byte    `json:"body"`
	Signature []byte    `json:"signature"` // by the satellite, over the body in context cairn/v1/departure
}

func departurePath(dir string) string { return filepath.Join(dir, "departure.json") }

// ReadDeparture reads, and checks, the satellite's word that the node in dir has
// handed over all its slots. Error: ErrNotDeparted if there is none.
func ReadDeparture(dir string) (*order.Departure, error) {
	s, err := readState(dir)
	if err != nil {
		return nil, err
	}
	key, err := ident.Load(filepath.Join(dir, keyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotDeparted
	}
	if err != nil {
		return nil, err
	}
	return readDeparture(dir, s.satellite, key.ID())
}

func readDeparture(dir string, satellite, node ident.ID) (*order.Departure, error) {
	raw, err := os.ReadFile(departurePath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotDeparted
	}
	if err != nil {
		return nil, err
	}
	var j departureJSON
	if err := json.Unmarshal(raw, &j); err != nil {
		return nil, fmt.Errorf("%s is damaged (%w): remove it, and the node will ask the satellite anew", departurePath(dir), err)
	}
	d, err := openDeparture(&pb.Signed{Body: j.Body, Signature: j.Signature}, satellite, node)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", departurePath(dir), err)
	}
	return d, nil
}

// openDeparture checks that the satellite lets this node go.
func openDeparture(signed *pb.Signed, satellite, node ident.ID) (*order.Departure, error) {
	d, err := order.OpenDeparture(signed, satellite)
	if err == nil && d.Node != node {
		err = fmt.Errorf("%w: it is for node %s", order.ErrPeer, d.Node)
	}
	return d, err
}

// departed is the satellite's word that the node may go, or nil.
func (n *Node) departed() *order.Departure {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.departure
}

// openExit finds out whether the node has departed before. A file that cannot be
// read is no obstacle: the satellite says it again.
func (n *Node) openExit() {
	d, err := readDeparture(n.config.Dir, n.satellite.ID, n.ID())
	switch {
	case err == nil:
		n.departure = d
		n.log.Info("this node has handed over all its slots: it may be stopped and its directory removed")
	case !errors.Is(err, ErrNotDeparted):
		n.log.Error("cannot read the satellite's word that this node may go", "error", err)
	}
}

// depart keeps the satellite's word that the node may go.
func (n *Node) depart(signed *pb.Signed) error {
	d, err := openDeparture(signed, n.satellite.ID, n.ID())
	if err != nil {
		return fmt.Errorf("departure from the satellite: %w", err)
	}
	if known := n.departed(); known != nil && *known == *d {
		return nil
	}
	raw, err := json.MarshalIndent(&departureJSON{
		Satellite: d.Satellite, Node: d.Node, Slots: d.Slots, Completed: d.Completed,
		Body: signed.Body, Signature: signed.Signature,
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.WriteFile(departurePath(n.config.Dir), append(raw, '\n')); err != nil {
		return fmt.Errorf("keep the satellite's word that this node may go: %w", err)
	}
	n.mu.Lock()
	n.departure = d
	n.mu.Unlock()
	n.log.Info("all slots are handed over: this node may be stopped and its directory removed",
		"slots", d.Slots, "signed", departurePath(n.config.Dir))
	return nil
}

// Exit implements pb.NodeAdminServer. To ask again does no harm.
func (a *admin) Exit(ctx context.Context, _ *pb.NodeExitRequest) (*pb.NodeExitResponse, error) {
	if a.node.departed() != nil {
		return &pb.NodeExitResponse{}, nil
	}
	if _, err := a.node.client.Exit(ctx, &pb.ExitRequest{}); err != nil {
		return nil, fmt.Errorf("ask the satellite to let the node go: %w", err)
	}
	a.node.log.Info("the satellite was asked to let this node go; it keeps its slots until others have taken them over")
	return &pb.NodeExitResponse{}, nil
}

// AskExit has the node that runs in dir ask its satellite to be replaced in all
// groups. How that goes, AskInfo tells.
func AskExit(ctx context.Context, dir string) error {
	_, err := ask(dir, func(c pb.NodeAdminClient) (*pb.NodeExitResponse, error) { return c.Exit(ctx, &pb.NodeExitRequest{}) })
	if s, ok := status.FromError(err); ok && err != nil {
		return errors.New(s.Message())
	}
	return err
}
