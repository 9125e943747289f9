// Package procnet runs a whole Cairn network as separate processes on this
// machine, from real binaries, so that tests and benchmarks can kill any of
// them with SIGKILL and account for what each costs.
package procnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Config describes the network to start.
type Config struct {
	Bin    string   // directory with the satellite, storagenode and uplink binaries
	Dir    string   // everything the network keeps goes below it
	Nodes  int      // storage nodes to start
	Scheme string   // such as 4/6/8/10
	Data   []string // data directories by node; empty: inside the node's directory
	Args   []string // further arguments of `satellite run`

	// NodeArgs gives further arguments of `storagenode run` for node i; nil: none.
	NodeArgs func(i int) []string

	// Liars are the arguments of the liar command for each node to start that
	// misbehaves. Build has to have been given Liar.
	Liars [][]string
}

// Network is a running satellite with its nodes and one project, "demo".
type Network struct {
	Satellite *Process
	Nodes     []*Process
	Liars     []*Process
	Grant     string

	config   Config
	starting bool // whatever ends now has failed
}

const module = "github.com/cairnstorage/cairn/"

// leaner is a build tag that leaves out how gRPC shows its calls on web pages,
// which no program uses and which brings a package of templates along.
const leaner = "grpcnotrace"

// Liar is the package of the node that misbehaves, for Build.
const Liar = "deploy/liar/cmd/liar"

// Build compiles the three binaries of the module into dir, and those of more
// packages of the module.
func Build(ctx context.Context, dir string, more ...string) error {
	return BuildTree(ctx, "", dir, more...)
}

// BuildTree is Build from another checkout of the module, whose root tree is.
func BuildTree(ctx context.Context, tree, dir string, more ...string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	command := exec.CommandContext(ctx, "go", "build", "-tags", leaner, "-o", dir+string(filepath.Separator))
	command.Dir = tree
	for _, pkg := range append([]string{"satellite/cmd/satellite", "storagenode/cmd/storagenode", "uplink/cmd/uplink"}, more...) {
		command.Args = append(command.Args, module+pkg)
	}
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build the binaries: %w\n%s", err, out)
	}
	return nil
}

// Start brings the network up and returns once it takes uploads.
func Start(ctx context.Context, config Config) (*Network, error) {
	n := &Network{config: config, starting: true}
	if err := n.start(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	n.starting = false
	return n, nil
}

func (n *Network) start(ctx context.Context) error {
	if err := os.MkdirAll(n.satelliteDir(), 0o755); err != nil {
		return err
	}
	n.Satellite = &Process{
		Name: "satellite",
		Path: n.binary("satellite"),
		Args: listening(append([]string{"run", "--dir", n.satelliteDir(), "--scheme", n.config.Scheme}, n.config.Args...)),
		Log:  filepath.Join(n.config.Dir, "satellite.log"),
	}
	if err := n.Satellite.Start(); err != nil {
		return err
	}
	if err := n.AwaitSatellite(ctx); err != nil {
		return err
	}
	for range n.config.Nodes {
		if _, err := n.AddNode(); err != nil {
			return err
		}
	}
	for _, args := range n.config.Liars {
		if err := n.addLiar(args); err != nil {
			return err
		}
	}
	if err := n.AwaitNodes(ctx, len(n.Nodes)+len(n.Liars)); err != nil {
		return err
	}
	return n.createProject(ctx)
}

// Restart ends every process, then starts them all again on what they kept.
func (n *Network) Restart(ctx context.Context) error {
	if err := n.Close(); err != nil {
		return err
	}
	n.starting = true
	defer func() { n.starting = false }()
	for _, process := range n.all() {
		if err := process.Start(); err != nil {
			return err
		}
	}
	return n.AwaitNodes(ctx, len(n.Nodes)+len(n.Liars))
}

// AwaitSatellite waits until the satellite answers on its admin socket. Once
// it has, its listen address stays the same over restarts.
func (n *Network) AwaitSatellite(ctx context.Context) error {
	return n.await(ctx, "the satellite to start", func() error {
		_, err := n.Status(ctx)
		return err
	})
}

// AwaitNodes waits until at least count nodes are online and a group of them
// can be written to.
func (n *Network) AwaitNodes(ctx context.Context, count int) error {
	return n.await(ctx, fmt.Sprintf("%d nodes to come online", count), func() error {
		status, err := n.Status(ctx)
		if err != nil {
			return err
		}
		if int(status.NodesOnline) < count || status.GroupsWritable == 0 {
			return fmt.Errorf("%d nodes are online, %d groups writable", status.NodesOnline, status.GroupsWritable)
		}
		return nil
	})
}

// AwaitGone waits until at most count nodes are online: a node that is started
// before the satellite knows that it had ended looks as if it were there already.
func (n *Network) AwaitGone(ctx context.Context, count int) error {
	return n.await(ctx, fmt.Sprintf("no more than %d nodes to be online", count), func() error {
		status, err := n.Status(ctx)
		if err == nil && int(status.NodesOnline) > count {
			err = fmt.Errorf("%d nodes are online", status.NodesOnline)
		}
		return err
	})
}

// SatelliteCommand runs a satellite administration command and returns its
// standard output.
func (n *Network) SatelliteCommand(ctx context.Context, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, n.binary("satellite"), append(args, "--dir", n.satelliteDir())...)
	command.Env = append(os.Environ(), "CAIRN_PASSPHRASE=a passphrase for tests")
	return output(command)
}

// Uplink prepares an uplink command that uses the network's grant.
func (n *Network) Uplink(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, n.binary("uplink"), args...)
	command.Env = append(os.Environ(), "CAIRN_ACCESS="+n.Grant, "CAIRN_CONFIG_DIR="+filepath.Join(n.config.Dir, "uplink"))
	return command
}

// RunUplink runs an uplink command to its end and returns its standard output.
func (n *Network) RunUplink(ctx context.Context, args ...string) ([]byte, error) {
	return output(n.Uplink(ctx, args...))
}

// Close ends every process, the satellite last.
func (n *Network) Close() error {
	var failures []error
	members := slices.Concat(n.Nodes, n.Liars)
	for _, member := range members {
		member.Signal(os.Interrupt)
	}
	for _, member := range members {
		failures = append(failures, member.Stop())
	}
	if n.Satellite != nil {
		failures = append(failures, n.Satellite.Stop())
	}
	return errors.Join(failures...)
}

func (n *Network) createProject(ctx context.Context) error {
	out, err := n.SatelliteCommand(ctx, "project", "create", "demo")
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	n.Grant = lines[len(lines)-1]
	return nil
}

func (n *Network) await(ctx context.Context, what string, ready func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		if n.starting {
			if err := n.failure(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited too long for %s (logs are in %s): %w", what, n.config.Dir, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// failure says which processes have ended by themselves, and what they said last.
func (n *Network) failure() error {
	var failures []error
	for _, process := range n.all() {
		if process.Failed() {
			failures = append(failures, fmt.Errorf("%s has ended: %s (all of it is in %s)", process.Name, lastLines(process.Log), process.Log))
		}
	}
	return errors.Join(failures...)
}

// all are the processes, the satellite first.
func (n *Network) all() []*Process { return slices.Concat([]*Process{n.Satellite}, n.Nodes, n.Liars) }

// lastLines is the end of a log.
func lastLines(log string) string {
	all, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(all)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}

func (n *Network) binary(name string) string { return filepath.Join(n.config.Bin, name) }
func (n *Network) satelliteDir() string      { return filepath.Join(n.config.Dir, "satellite") }

func output(command *exec.Cmd) ([]byte, error) {
	out, err := command.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%s %s: %w: %s", filepath.Base(command.Path), strings.Join(command.Args[1:], " "), err, strings.TrimSpace(string(exit.Stderr)))
	}
	return out, err
}
