// Package storagenode is a storage node: it takes in shards from uplinks, gives
// them back, proves that it holds them, and follows its satellite's journals to
// learn which of them count and which are to be deleted.
package storagenode

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/observe"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/satellite/satclient"
	"github.com/cairnstorage/cairn/storagenode/heal"
	"github.com/cairnstorage/cairn/storagenode/internal/durable"
	"github.com/cairnstorage/cairn/storagenode/scrub"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// Config is all that a node is told from outside. Dir and Satellite are
// required.
type Config struct {
	Dir       string        // identity, state and, unless Data says otherwise, shards
	Data      []string      // data directories; empty: DIR/data
	Replaced  []string      // data directories, in Data or not any more, whose old content is lost for good
	Satellite string        // multiaddr ending in /p2p/ID, or the path of a file with one
	Listen    []string      // multiaddrs; empty: TCP on all of IPv4. Port 0 becomes one that is kept over restarts
	Announce  []string      // multiaddrs to be reached at, when they differ from Listen
	QUIC      bool          // also speak QUIC, where Listen says so
	Capacity  int64         // bytes of shards in all; 0: what the disks have
	Reserve   int64         // bytes to leave free on each disk; 0: see shardstore.Config
	Operator  string        // who runs the node, as told to the satellite
	HealRate  int64         // bytes a second read to heal what is not urgent; 0: see heal.Config
	Scrub     time.Duration // in which all shards are read once; 0: 30 days
	Version   string
	Metrics   string           // host:port to serve metrics at, by HTTP; port 0 is any; empty: nowhere
	Profiles  bool             // serve what Go's pprof makes, too, beside the metrics
	Logger    *slog.Logger     // nil logs nothing
	Now       func() time.Time // nil: time.Now
	Random    io.Reader        // nil: crypto/rand
}

// keyFile is the node's identity, in its directory.
const keyFile = "key.pem"

// defaultListen is where a node listens unless it is told.
const defaultListen = "/ip4/0.0.0.0/tcp/0"

func (c *Config) setDefaults() error {
	if c.Dir == "" || c.Satellite == "" {
		return errors.New("storagenode: a directory and the address of a satellite are required")
	}
	if len(c.Data) == 0 {
		c.Data = []string{filepath.Join(c.Dir, "data")}
	}
	for i, path := range c.Data {
		abs, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		c.Data[i] = abs
	}
	if len(c.Listen) == 0 {
		c.Listen = []string{defaultListen}
	}
	if c.Scrub == 0 {
		c.Scrub = defaultScrub
	}
	if c.HealRate < 0 || c.Scrub < 0 {
		return errors.New("storagenode: neither the rate of healing nor the time of scrubbing can be negative")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	return nil
}

// A Node is one storage node.
type Node struct {
	config    Config
	log       *slog.Logger
	lock      *os.File
	key       ident.Key
	state     *state
	store     *shardstore.Store
	ledger    *Ledger
	host      *transport.Host
	server    *Server
	healer    *heal.Healer
	scrubber  *scrub.Scrubber
	satellite transport.Address
	client    satelliteClient
	admin     *admin
	watched   *observe.Server // nil: by nobody
	started   time.Time

	view   view // what the satellite said last
	claims *claimer
	pace   pace // of healing, in bytes written

	mu      sync.Mutex
	trouble map[string]string // what is wrong, by what it is about
	slots   map[uint32]int    // by group: that of all that is held of it, where it was looked
	// departure is the satellite's word that the node may go, or nil.
	departure *order.Departure
	strays    []uint32 // groups of which something is held, and no record is known
}

// New opens the node's directories and its listeners. Run has to follow, to
// serve and, in the end, to close them.
func New(c Config) (_ *Node, err error) {
	if err := c.setDefaults(); err != nil {
		return nil, err
	}
	n := &Node{config: c, log: c.Logger, started: c.Now(), trouble: make(map[string]string), slots: make(map[uint32]int)}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	if n.satellite, err = ParseSatellite(c.Satellite); err != nil {
		return nil, err
	}
	if err := n.openDir(); err != nil {
		return nil, err
	}
	if err := n.openStore(); err != nil {
		return nil, err
	}
	if n.ledger, err = OpenLedger(filepath.Join(c.Dir, "ledger"), c.Now, c.Logger); err != nil {
		return nil, err
	}
	if err := n.openHost(); err != nil {
		return nil, err
	}
	if n.admin, err = n.openAdmin(); err != nil {
		return nil, err
	}
	if err := n.watch(); err != nil {
		return nil, err
	}
	return n, nil
}

// ParseSatellite reads the address of a satellite, or the file that holds it.
func ParseSatellite(text string) (transport.Address, error) {
	address, err := transport.ParseAddress(text)
	if err == nil {
		return address, nil
	}
	raw, fileErr := os.ReadFile(text)
	if errors.Is(fileErr, os.ErrNotExist) {
		return address, fmt.Errorf("satellite %q is no address (%w) and there is no such file", text, err)
	}
	if fileErr != nil {
		return address, fmt.Errorf("address of the satellite: %w", fileErr)
	}
	address, err = transport.ParseAddress(string(trimSpace(raw)))
	if err != nil {
		return address, fmt.Errorf("file %s: %w", text, err)
	}
	return address, nil
}

// openDir makes the node's directory its own.
func (n *Node) openDir() (err error) {
	if err := os.MkdirAll(n.config.Dir, 0o700); err != nil {
		return err
	}
	if n.lock, err = durable.Lock(n.config.Dir); err != nil {
		return err
	}
	if n.key, _, err = ident.LoadOrCreate(filepath.Join(n.config.Dir, keyFile)); err != nil {
		return err
	}
	if n.state, err = readState(n.config.Dir); err != nil {
		return err
	}
	if err := n.state.bind(n.satellite.ID); err != nil {
		return err
	}
	n.openExit()
	return nil
}

// openHost starts listening.
func (n *Node) openHost() error {
	err := listenAnew(n.listenAddresses, func(listen []string) (err error) {
		n.host, err = transport.New(transport.Config{
			Key:      n.key,
			Listen:   listen,
			Announce: n.config.Announce,
			QUIC:     n.config.QUIC,
			Serves:   []string{wire.Protocol, wire.AuditProtocol},
			Logger:   n.log,
		})
		return err
	})
	if err != nil {
		return err
	}
	client, err := satclient.New(n.host, n.satellite, satclient.Options{Timeout: callTimeout})
	if err != nil {
		return err
	}
	n.client = client
	n.claims = newClaimer(n)
	n.server, err = NewServer(ServerConfig{
		Store:     n.store,
		Key:       n.key,
		Satellite: n.satellite.ID,
		Groups:    n.state.epoch,
		Learn:     n.learn,
		Claim:     n.claims.claimed,
		Lost:      n.lost,
		Ledger:    n.ledger,
		Now:       n.config.Now,
		Logger:    n.log,
	})
	if err != nil {
		return err
	}
	if err := n.openUpkeep(); err != nil {
		return err
	}
	n.host.Protect(n.satellite.ID)
	n.host.Handle(wire.Protocol, n.server.Serve)
	n.host.Handle(wire.AuditProtocol, n.server.ServeAudit)
	return nil
}

// learn remembers a group record that a peer has shown.
func (n *Node) learn(signed *pb.Signed, group *order.Group) {
	if err := n.state.learn(signed, group); err != nil {
		n.log.Error("could not remember a group record", "group", group.ID, "error", err)
	}
}

// ID is the node's identity.
func (n *Node) ID() ident.ID { return n.key.ID() }

// Addresses are the multiaddrs the node is reached at, each ending in /p2p/ID.
func (n *Node) Addresses() []string { return n.host.Addresses() }

// Run serves until ctx is done, then closes everything that New opened.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n.log.Info("storage node runs", "id", n.ID(), "addresses", n.Addresses(), "satellite", n.satellite.ID)
	news := newNewsBox()
	var tasks sync.WaitGroup
	tasks.Go(func() { n.checkInLoop(ctx, news) })
	tasks.Go(func() { n.followLoop(ctx, news) })
	tasks.Go(func() { n.claims.run(ctx) })
	tasks.Go(func() { n.healer.Run(ctx) })
	tasks.Go(func() { n.scrubber.Run(ctx) })
	tasks.Go(func() { n.watched.Run(ctx, n.metrics()) })
	served := make(chan error, 1)
	tasks.Go(func() { served <- n.admin.serve() })
	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
		cancel()
	}
	n.admin.stop()
	tasks.Wait()
	n.log.Info("storage node stops")
	return errors.Join(err, n.close())
}

// close closes what New opened, in the order that lets nothing work on with
// what is closed.
func (n *Node) close() error {
	errs := []error{n.watched.Close()}
	if n.admin != nil {
		n.admin.stop()
	}
	if n.client != nil {
		errs = append(errs, n.client.Close())
	}
	if n.host != nil {
		errs = append(errs, n.host.Close())
	}
	if n.ledger != nil {
		errs = append(errs, n.ledger.Close())
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	if n.lock != nil {
		errs = append(errs, n.lock.Close())
	}
	return errors.Join(errs...)
}

// setTrouble notes that something is wrong, or, with a nil error, that it is
// not any more.
func (n *Node) setTrouble(about string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		delete(n.trouble, about)
		return
	}
	n.trouble[about] = err.Error()
}

// troubles gives all that is wrong.
func (n *Node) troubles() map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.trouble)
}
