// Package network runs a whole Cairn network in one process: a satellite and
// storage nodes, each with a directory, an identity and a listener of its own,
// that talk to each other over loopback as they would anywhere.
package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/satellite"
	"github.com/cairnstorage/cairn/storagenode"
)

// Config says what network to run. Dir and some nodes are required.
type Config struct {
	Dir     string         // everything is kept below it; what it already holds is gone on with
	Nodes   int            // storage nodes
	Joining int            // further nodes, that the caller brings: Start does not wait for nodes then
	Scheme  erasure.Scheme // zero: 4/6/8/10, or less where there are fewer nodes
	Logger  *slog.Logger   // nil: nothing is logged

	// Satellite and Node, where given, change the configuration of each party
	// before it starts.
	Satellite func(*satellite.Config)
	Node      func(i int, c *storagenode.Config)
}

// Network is a running network. Its methods are not for concurrent use.
type Network struct {
	config    Config
	satellite *member[*satellite.Satellite]
	nodes     []*member[*storagenode.Node]
}

// Start runs a network and returns once it takes uploads. Close ends it.
func Start(ctx context.Context, c Config) (*Network, error) {
	if c.Scheme == (erasure.Scheme{}) {
		c.Scheme = schemeFor(c.Nodes + c.Joining)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if all := c.Nodes + c.Joining; all < c.Scheme.Total {
		return nil, fmt.Errorf("scheme %v needs %d nodes and there are to be %d", c.Scheme, c.Scheme.Total, all)
	}
	n := &Network{config: c, nodes: make([]*member[*storagenode.Node], c.Nodes)}
	if err := n.start(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// schemeFor is the scheme of local clusters, scaled down for fewer than ten
// nodes.
func schemeFor(nodes int) erasure.Scheme {
	if nodes >= 10 {
		return erasure.Scheme{Required: 4, RepairBelow: 6, Success: 8, Total: 10}
	}
	required := max(1, nodes*2/5)
	return erasure.Scheme{Required: required, RepairBelow: required, Success: max(required, nodes*4/5), Total: nodes}
}

func (n *Network) start(ctx context.Context) error {
	if err := n.StartSatellite(ctx); err != nil {
		return err
	}
	for i := range n.nodes {
		if err := n.StartNode(ctx, i); err != nil {
			return err
		}
	}
	if n.config.Joining > 0 {
		return nil
	}
	return n.AwaitNodes(ctx, n.config.Nodes)
}

// StartSatellite starts the satellite, at the start or after StopSatellite.
func (n *Network) StartSatellite(ctx context.Context) error {
	c := satellite.Config{
		Dir:     filepath.Join(n.config.Dir, "satellite"),
		Listen:  []string{"/ip4/127.0.0.1/tcp/0"},
		Scheme:  n.config.Scheme,
		CheckIn: 500 * time.Millisecond,
		Settle:  200 * time.Millisecond,
		Vetting: -1,
		Logger:  n.config.Logger.With("party", "satellite"),
	}
	if n.config.Satellite != nil {
		n.config.Satellite(&c)
	}
	s, err := satellite.New(ctx, c)
	if err != nil {
		return err
	}
	n.satellite = run(s)
	return nil
}

// StopSatellite ends the satellite as a signal would.
func (n *Network) StopSatellite() error { return n.satellite.stop() }

// StartNode starts node i, at the start or after StopNode.
func (n *Network) StartNode(ctx context.Context, i int) error {
	name := fmt.Sprintf("node%02d", i)
	dir := filepath.Join(n.config.Dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	c := storagenode.Config{
		Dir:       dir,
		Satellite: n.SatelliteAddress(),
		Listen:    []string{"/ip4/127.0.0.1/tcp/0"},
		Logger:    n.config.Logger.With("party", name),
	}
	if n.config.Node != nil {
		n.config.Node(i, &c)
	}
	node, err := storagenode.New(c)
	if err != nil {
		return err
	}
	n.nodes[i] = run(node)
	return nil
}

// StopNode ends node i as a signal would.
func (n *Network) StopNode(i int) error { return n.nodes[i].stop() }

// Node is node i, running or not.
func (n *Network) Node(i int) *storagenode.Node { return n.nodes[i].party }

// Satellite is the satellite, running or not.
func (n *Network) Satellite() *satellite.Satellite { return n.satellite.party }

// SatelliteAddress is the address of the satellite, ending in /p2p/ID.
func (n *Network) SatelliteAddress() string { return n.satellite.party.Address() }

// SatelliteDir is the directory of the satellite, for its commands.
func (n *Network) SatelliteDir() string { return filepath.Join(n.config.Dir, "satellite") }

// Close ends every party, the satellite last, and returns what failed.
func (n *Network) Close() error {
	var failures []error
	for _, node := range n.nodes {
		if node != nil {
			node.cancel()
		}
	}
	for _, node := range n.nodes {
		if node != nil {
			failures = append(failures, node.stop())
		}
	}
	if n.satellite != nil {
		failures = append(failures, n.satellite.stop())
	}
	return errors.Join(failures...)
}

// member is a party with the goroutine that runs it.
type member[P interface{ Run(context.Context) error }] struct {
	party  P
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // how Run returned, once ended is closed
}

func run[P interface{ Run(context.Context) error }](party P) *member[P] {
	ctx, cancel := context.WithCancel(context.Background())
	m := &member[P]{party: party, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(m.ended)
		m.err = party.Run(ctx)
	}()
	return m
}

// stop ends the party if it runs and says how it ended.
func (m *member[P]) stop() error {
	m.cancel()
	<-m.ended
	if errors.Is(m.err, context.Canceled) {
		return nil
	}
	return m.err
}
