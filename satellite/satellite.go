// Package satellite is the party that says which storage nodes hold what: it
// keeps the metadata, plans placement groups, keeps their journals and signs
// order limits. It moves no payload.
package satellite

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/observe"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/kv/badgerkv"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/placement"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// maxGreeting is how long a caller may take to begin. Stopping waits for it.
const maxGreeting = 10 * time.Second

// callWorkers answer uplinks' calls one after another, so that their stacks grow
// once and not for every call. Calls beyond have a goroutine of their own.
const callWorkers = 64

// DefaultTombstones is how long what was deleted stays in the journals.
const DefaultTombstones = 30 * 24 * time.Hour

// DefaultScheme is that of a network of many nodes.
var DefaultScheme = erasure.Scheme{Required: 20, RepairBelow: 28, Success: 32, Total: 40}

// Config is what a satellite is run with. Only Dir is required; zero values
// stand for the defaults named.
type Config struct {
	// Dir holds all that the satellite keeps. It is made if missing, and locked.
	Dir string
	// Listen holds multiaddrs, by default TCP port 7777 of all interfaces, or
	// another if that is taken. A port of 0 is any; it stays the same when the
	// satellite is started again.
	Listen []string
	// Announce holds the multiaddrs that others are told instead.
	Announce []string
	QUIC     bool
	// Scheme is that of new placement groups: by default that of the newest
	// group, or DefaultScheme.
	Scheme erasure.Scheme
	// Distinct keeps nodes of one subnet or operator out of one group.
	Distinct bool
	// GroupsPerNode is in how many groups a node should be: 4.
	GroupsPerNode int
	// CheckIn is the time between a node's check-ins: 3 s.
	CheckIn time.Duration
	// Settle is for how long no node may have come before groups are planned:
	// 1 s.
	Settle time.Duration
	// OfflineGrace is how long a node may be away before its slots are given to
	// others: 4 h. The time between check-ins is at most a quarter of it.
	OfflineGrace time.Duration
	// Vetting is how many challenges a new node must prove before it counts as
	// one that can be relied upon: 100. Negative means none, for a network whose
	// nodes know each other.
	Vetting int
	// Staging is how long nodes keep a shard for its commit: 24 h.
	Staging time.Duration
	// Tombstones is how long the journals keep tombstones, and what they bury,
	// for nodes that are away: DefaultTombstones.
	Tombstones time.Duration
	// AuditInterval is how often a node is audited, in the mean, and AuditBatch
	// how many challenges it is asked to answer then, at most MaxAuditBatch:
	// DefaultAuditInterval and DefaultAuditBatch.
	AuditInterval time.Duration
	AuditBatch    int
	// Version is what Status tells.
	Version string
	// Metrics is the host:port to serve metrics at, by HTTP: port 0 is any,
	// empty nowhere. With Profiles, what Go's pprof makes is served there, too.
	Metrics  string
	Profiles bool

	Logger *slog.Logger     // nil: slog.Default()
	Now    func() time.Time // nil: time.Now
	Rand   io.Reader        // nil: crypto/rand
}

// withDefaults fills in what was left out, and refuses what cannot be.
func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" {
		return c, errors.New("a satellite needs a directory")
	}
	if c.Scheme != (erasure.Scheme{}) {
		if err := c.Scheme.Validate(); err != nil {
			return c, err
		}
	}
	c.GroupsPerNode = orDefault(c.GroupsPerNode, 4)
	c.OfflineGrace = orDefault(c.OfflineGrace, 4*time.Hour)
	c.CheckIn = min(orDefault(c.CheckIn, 3*time.Second), c.OfflineGrace/4)
	if c.Vetting == 0 {
		c.Vetting = 100
	}
	c.Settle = orDefault(c.Settle, time.Second)
	c.Staging = orDefault(c.Staging, 24*time.Hour)
	c.Tombstones = orDefault(c.Tombstones, DefaultTombstones)
	c.AuditInterval = orDefault(c.AuditInterval, DefaultAuditInterval)
	if c.AuditBatch = orDefault(c.AuditBatch, DefaultAuditBatch); c.AuditBatch > MaxAuditBatch {
		return c, fmt.Errorf("an audit has at most %d challenges, not %d", MaxAuditBatch, c.AuditBatch)
	}
	if c.Staging <= order.LimitLife {
		return c, fmt.Errorf("staged shards must be kept for longer than order limits live, %v", order.LimitLife)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	return c, nil
}

func orDefault[T ~int | ~int64](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// Satellite is one satellite. New makes it and Run runs it.
type Satellite struct {
	config  Config
	key     ident.Key
	kv      kv.Store
	meta    *meta.Store
	host    *transport.Host
	address string
	started time.Time

	registry *registry
	groups   *groups
	claims   *claims
	leases   *leaser
	auditor  *auditor
	settling *settling
	requests *requests
	watched  *observe.Server // nil: by nobody
	repairer *repairer
	reports  *reports
	census   census
	trouble  atomic.Pointer[meta.Trouble] // nil: none

	now  func() time.Time
	rand io.Reader
	log  *slog.Logger
}

// New opens a satellite's directory and begins to listen; nothing is served
// before Run. Run or Close releases all of it.
func New(ctx context.Context, c Config) (*Satellite, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Satellite{config: c, now: c.Now, rand: c.Rand, log: c.Logger, started: c.Now(), requests: newRequests()}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// open takes the directory, then reads what it holds, then goes on the network.
func (s *Satellite) open(ctx context.Context) (err error) {
	dir := s.config.Dir
	if err := makeDir(dir); err != nil {
		return err
	}
	store, err := badgerkv.Open(badgerkv.Config{Dir: filepath.Join(dir, "metadata"), Logger: s.log})
	if err != nil {
		return err
	}
	s.kv = store
	var created bool
	if s.key, created, err = ident.LoadOrCreate(filepath.Join(dir, "identity.key")); err != nil {
		return err
	}
	if created {
		s.log.Info("made a new identity", "id", s.key.ID())
	}
	if s.meta, err = meta.Open(ctx, s.kv, meta.Config{Satellite: s.key.ID(), Now: s.now, Rand: s.rand}); err != nil {
		return err
	}
	if err := s.recall(ctx); err != nil {
		return err
	}
	if err := s.watch(); err != nil {
		return err
	}
	if err := s.listen(); err != nil {
		return err
	}
	s.auditor = newAuditor(s)
	return nil
}

// recall reads what is kept in memory.
func (s *Satellite) recall(ctx context.Context) (err error) {
	s.registry = &registry{
		meta: s.meta, now: s.now, interval: s.config.CheckIn, log: s.log,
		rule: audit.Rule{Grace: s.config.OfflineGrace, Vetting: uint64(max(s.config.Vetting, 0))},
	}
	if err := openRegistry(ctx, s.registry); err != nil {
		return err
	}
	s.groups = &groups{
		meta: s.meta, registry: s.registry, key: s.key,
		scheme: s.config.Scheme,
		rule:   placement.Rule{Distinct: s.config.Distinct, PerNode: s.config.GroupsPerNode},
		now:    s.now, rand: s.rand, log: s.log,
	}
	if err := openGroups(ctx, s.groups, DefaultScheme); err != nil {
		return err
	}
	s.leases = &leaser{key: s.key, groups: s.groups, nodes: s.registry, now: s.now, rand: s.rand}
	if s.claims, err = openClaims(ctx, s.meta, s.groups, s.now, s.log); err != nil {
		return err
	}
	if s.reports, err = openReports(ctx, s.meta, s.groups, s.claims); err != nil {
		return err
	}
	s.repairer = newRepairer(s)
	if err := s.settle(ctx); err != nil {
		return err
	}
	t, err := s.meta.Trouble(ctx)
	if err != nil {
		return err
	}
	if t != nil {
		s.log.Error("refusing writes", "trouble", t.Text)
	}
	s.trouble.Store(t)
	return nil
}

// makeDir makes the directory and checks that it can be written to, so that
// the error is about the directory and not about some file in it.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("directory of the satellite: %w", err)
	}
	probe, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return fmt.Errorf("directory %s cannot be written to: %w", dir, errors.Unwrap(err))
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// ID is who the satellite is.
func (s *Satellite) ID() ident.ID { return s.key.ID() }

// Address is the multiaddr that others reach the satellite at; it ends in
// /p2p/ID.
func (s *Satellite) Address() string { return s.address }

// Close releases what New took, for a satellite that is not run.
func (s *Satellite) Close() error {
	errs := []error{s.watched.Close()}
	if s.host != nil {
		errs = append(errs, s.host.Close())
	}
	if s.kv != nil {
		errs = append(errs, s.kv.Close())
	}
	return errors.Join(errs...)
}

// Run serves until ctx ends or serving fails, and then releases everything.
func (s *Satellite) Run(ctx context.Context) error {
	err := s.run(ctx)
	if s.registry != nil {
		// The last word on nodes; ctx has ended by now.
		last := context.WithoutCancel(ctx)
		err = errors.Join(err, s.registry.store(last, true), s.registry.storeStandings(last, true), s.storeClaims(last))
	}
	return errors.Join(err, s.Close())
}

func (s *Satellite) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	s.host.OnDisconnect(func(id ident.ID) {
		if !s.host.Connected(id) {
			s.registry.disconnected(id)
		}
	})
	options := append(s.requests.options(s.log), grpc.ConnectionTimeout(maxGreeting))
	uplinks := transport.NewGRPCServer(append(options, grpc.NumStreamWorkers(callWorkers))...)
	guarded := transport.Guarded(pb.Metadata_ServiceDesc, s.requests.admitting(new(keyring).admit(s.meta)), s.requests.around(answer(s.log)))
	uplinks.RegisterService(guarded, newMetadata(s))
	nodes := transport.NewGRPCServer(append(options, grpc.MaxRecvMsgSize(satclient.MaxNodeMessage))...)
	pb.RegisterNodesServer(nodes, &nodesServer{Satellite: s})
	local := grpc.NewServer(append(options, grpc.MaxSendMsgSize(maxListing))...)
	pb.RegisterAdminServer(local, &adminServer{Satellite: s})
	socket, err := listenAdmin(s.config.Dir)
	if err != nil {
		return err
	}
	defer time.AfterFunc(min(lapses*s.config.CheckIn, maxSettling), s.settling.end).Stop()
	group.Go(func() error { return s.host.ServeGRPC(transport.SatelliteProtocol, uplinks) })
	group.Go(func() error { return s.host.ServeGRPC(transport.NodesProtocol, nodes) })
	group.Go(func() error {
		if err := local.Serve(socket); !errors.Is(err, grpc.ErrServerStopped) { // before it began
			return err
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		stop(uplinks, nodes, local)
		return nil
	})
	group.Go(func() error { s.watched.Run(ctx, s.metrics(ctx)); return nil })
	group.Go(func() error { return s.groups.keepPlanning(ctx, s.config.Settle) })
	group.Go(func() error { return s.every(ctx, 10*time.Second, "store node records", s.storeNodes) })
	group.Go(func() error { return s.repairer.keepRepairing(ctx) })
	standings := min(10*time.Second, s.config.OfflineGrace/4)
	group.Go(func() error { return s.every(ctx, standings, "keep standings", s.keepStandings) })
	group.Go(func() error { return s.every(ctx, 10*time.Second, "store claims", s.storeClaims) })
	group.Go(func() error { return s.keepAuditing(ctx) })
	group.Go(func() error { return s.every(ctx, time.Minute, "expire uploads", s.expire) })
	group.Go(func() error { return s.every(ctx, time.Minute, "take the census", s.takeCensus) })
	group.Go(func() error { return s.every(ctx, s.trimEvery(), "trim journals", s.trim) })
	group.Go(func() error { return s.every(ctx, time.Minute, "review reports", s.reviewReports) })
	group.Go(func() error { return s.every(ctx, time.Hour, "forget nodes", s.forgetNodes) })
	return group.Wait()
}

// stop lets requests under way end, for a moment.
func stop(servers ...*grpc.Server) {
	var stopping sync.WaitGroup
	for _, server := range servers {
		stopping.Go(func() {
			end := time.AfterFunc(2*time.Second, server.Stop)
			server.GracefulStop()
			end.Stop()
		})
	}
	stopping.Wait()
}

// every does a chore at intervals; failures are logged and tried again.
func (s *Satellite) every(ctx context.Context, interval time.Duration, what string, chore func(context.Context) error) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := chore(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("cannot "+what, "error", err)
		}
	}
}

func (s *Satellite) storeNodes(ctx context.Context) error { return s.registry.store(ctx, false) }

func (s *Satellite) forgetNodes(ctx context.Context) error {
	return s.registry.forget(ctx, func(id ident.ID) bool { return len(s.groups.of(id)) > 0 })
}

// expire removes uploads and nonces past their time, unless there is trouble:
// then nothing is written.
func (s *Satellite) expire(ctx context.Context) error {
	for more := s.ready(ctx) == nil; more; {
		done, err := s.meta.Expire(ctx)
		if err != nil {
			return err
		}
		if done.Uploads > 0 {
			s.log.Info("removed uploads past their time", "uploads", done.Uploads)
		}
		more = done.More
	}
	return nil
}
