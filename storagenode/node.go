// Package storagenode is a storage node: it takes in shards from uplinks, gives
// them back, proves that it holds them, and follows its satellite's journals to
// learn which of them count and which are to be deleted.
package storagenode

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
)

// Config is all that a node is told from outside.
type Config struct {
	Dir       string   // identity, state and, unless Data says otherwise, shards
	Data      []string // data directories; empty: DIR/data
	Satellite string   // multiaddr ending in /p2p/ID, or a path of a file with one
	Listen    []string // multiaddrs; empty: all of IPv4 on a port that is kept over restarts
	Announce  []string // multiaddrs to be reached at, when they differ from Listen
	Capacity  int64    // bytes of shards in all; 0: what the disks have
	Reserve   int64    // bytes to leave free on each disk; 0: see shardstore.Config
	Operator  string   // who runs the node, as told to the satellite
	Version   string
	Logger    *slog.Logger
	Now       func() time.Time
	Random    io.Reader
}

// A Node is one storage node.
type Node struct{}

// New opens the node's directories and its listeners. Run has to follow, to
// serve and, in the end, to close them.
func New(cfg Config) (*Node, error) { return nil, errors.New("not yet") }

// ID is the node's identity.
func (n *Node) ID() ident.ID { return ident.ID{} }

// Addresses are the multiaddrs the node listens at, each ending in /p2p/ID.
func (n *Node) Addresses() []string { return nil }

// Run serves until ctx is done, then closes everything that New opened.
func (n *Node) Run(ctx context.Context) error { return nil }
