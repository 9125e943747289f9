package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/cairnstorage/cairn/deploy/procnet"
	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/observe/scrape"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/uplink"
)

// A lab is the network that an ordeal puts to the test, with one uplink of its
// own, and the report of what comes of it.
type lab struct {
	dir    string
	bin    string // the binaries; empty: not built yet
	keep   bool   // leave the directory there
	report *Report

	net     *procnet.Network
	host    *transport.Host
	project *uplink.Project
	data    *ledger
	scheme  erasure.Scheme
}

// setup is the network that an ordeal wants.
type setup struct {
	nodes  int
	scheme string
	grace  time.Duration // of the satellite; 0: its default
	args   []string      // further arguments of `satellite run`
	node   func(i int) []string
	liars  [][]string // arguments of each liar
}

// start builds what is missing, runs the network and opens its project.
func (l *lab) start(ctx context.Context, s setup) (err error) {
	if l.scheme, err = erasure.ParseScheme(s.scheme); err != nil {
		return fmt.Errorf("--scheme: %w", err)
	}
	if l.bin == "" {
		l.bin = filepath.Join(l.dir, "bin")
		l.report.say("building")
		if err := procnet.Build(ctx, l.bin, procnet.Liar); err != nil {
			return err
		}
	}
	l.report.Network = fmt.Sprintf("%d nodes at %s", s.nodes+len(s.liars), s.scheme)
	if len(s.liars) > 0 {
		l.report.Network += fmt.Sprintf(", %d of them liars", len(s.liars))
	}
	if err := l.startNetwork(ctx, s); err != nil {
		return err
	}
	if err := l.openProject(ctx); err != nil {
		return err
	}
	l.data = newLedger()
	_, err = l.project.CreateBucket(ctx, bucket)
	return err
}

func (l *lab) startNetwork(ctx context.Context, s setup) (err error) {
	l.report.say("starting %s", l.report.Network)
	args := append([]string{"--metrics", anyAddress, "--vetting", "0"}, s.args...)
	if s.grace > 0 {
		args = append(args, "--offline-grace", s.grace.String())
	}
	c := procnet.Config{Bin: l.bin, Dir: l.dir, Nodes: s.nodes, Scheme: s.scheme, Args: args, Liars: s.liars}
	c.NodeArgs = func(i int) []string {
		args := []string{"--metrics", anyAddress}
		if s.node != nil {
			args = append(args, s.node(i)...)
		}
		return args
	}
	l.net, err = procnet.Start(ctx, c)
	return err
}

func (l *lab) openProject(ctx context.Context) error {
	key, err := ident.Generate(rand.Reader)
	if err != nil {
		return err
	}
	if l.host, err = transport.New(transport.Config{Key: key}); err != nil {
		return err
	}
	l.project, err = uplink.Open(ctx, l.net.Grant, uplink.WithHost(l.host))
	return err
}

// anyAddress is where a daemon is to serve its metrics: its log tells the port,
// which is at no address that a node which is down now will want back.
const anyAddress = "127.0.0.2:0"

// scrapeOf reads the metrics of a daemon that runs.
func scrapeOf(ctx context.Context, p *procnet.Process) (*scrape.Metrics, error) {
	log, err := os.ReadFile(p.Log)
	if err != nil {
		return nil, err
	}
	_, at, ok := bytes.Cut(log[max(0, bytes.LastIndex(log, []byte("metrics are served"))):], []byte("url=http://"))
	if !ok {
		return nil, fmt.Errorf("%s does not say where its metrics are served", p.Name)
	}
	address, _, _ := bytes.Cut(at, []byte("/metrics"))
	return scrape.Get(ctx, string(address))
}

// store uploads so many bytes.
func (l *lab) store(ctx context.Context, bytes int64) error {
	l.report.say("storing %.0f MiB", mib(bytes))
	begun := time.Now()
	if err := l.data.fill(ctx, l.project, "stored", bytes); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	objects, bytes := l.data.count()
	l.report.say("stored %d objects, %.0f MiB, at %.0f MB/s", objects, mib(bytes), float64(bytes)/1e6/time.Since(begun).Seconds())
	return nil
}

// close ends everything. The directory stays when the ordeal has failed.
func (l *lab) close() error {
	var errs []error
	if l.project != nil {
		errs = append(errs, part("the project", l.project.Close()), part("its host", l.host.Close()))
	}
	if l.net != nil {
		errs = append(errs, part("the network", l.net.Close()))
	}
	if l.keep || len(l.report.Failures) > 0 {
		l.report.say("what is left of it is in %s", l.dir)
		return errors.Join(errs...)
	}
	return errors.Join(append(errs, os.RemoveAll(l.dir))...)
}

// part says what could not be ended well.
func part(what string, err error) error {
	if err != nil {
		return fmt.Errorf("ending %s: %w", what, err)
	}
	return nil
}

// fsck ends the network and has every node's store checked, byte by byte.
func (l *lab) fsck(ctx context.Context) error {
	l.report.say("stopping everything to check the nodes' stores")
	if err := l.net.Close(); err != nil {
		return err
	}
	damaged := 0
	for i, node := range l.net.Nodes {
		if _, err := os.Stat(filepath.Join(l.net.NodeDir(i), "key.pem")); err != nil {
			continue // it was wiped
		}
		out, err := exec.CommandContext(ctx, node.Path, "fsck", "--dir", l.net.NodeDir(i)).CombinedOutput()
		if err != nil {
			damaged++
			l.report.fail("fsck of %s: %v\n%s", node.Name, err, out)
		}
	}
	l.report.must(damaged == 0, "stores that fsck finds damaged", float64(damaged), "", "0")
	return nil
}

// await asks again and again until done says so, an error says that it never
// will, or ctx is over. What goes wrong with asking does not end it: daemons
// may be down for a moment.
func (l *lab) await(ctx context.Context, what string, done func() (bool, error)) error {
	var last error
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok {
			return nil
		}
		last = err
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, errors.Join(context.Cause(ctx), last))
		case <-tick.C:
		}
	}
}

// running are the numbers of the nodes that run.
func (l *lab) running() []int {
	var all []int
	for i, node := range l.net.Nodes {
		if node.Running() {
			all = append(all, i)
		}
	}
	return slices.Clip(all)
}
