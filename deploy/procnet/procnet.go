// Package procnet runs a whole Cairn network as separate processes on this
// machine, from real binaries, so that tests and benchmarks can kill any of
// them with SIGKILL and account for what each costs.
package procnet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
}

// Network is a running satellite with its nodes and one project, "demo".
type Network struct {
	Satellite *Process
	Nodes     []*Process
	Grant     string

	config Config
}

// Build compiles the three binaries of the module into dir.
func Build(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	command := exec.CommandContext(ctx, "go", "build", "-o", dir+string(filepath.Separator),
		"github.com/cairnstorage/cairn/satellite/cmd/satellite",
		"github.com/cairnstorage/cairn/storagenode/cmd/storagenode",
		"github.com/cairnstorage/cairn/uplink/cmd/uplink")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build the binaries: %w\n%s", err, out)
	}
	return nil
}

// Start brings the network up and returns once it takes uploads.
func Start(ctx context.Context, config Config) (*Network, error) {
	n := &Network{config: config}
	if err := n.start(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Network) start(ctx context.Context) error {
	if err := os.MkdirAll(n.satelliteDir(), 0o755); err != nil {
		return err
	}
	n.Satellite = &Process{
		Name: "satellite",
		Path: n.binary("satellite"),
		Args: append([]string{"run", "--dir", n.satelliteDir(), "--listen", "/ip4/127.0.0.1/tcp/0", "--scheme", n.config.Scheme}, n.config.Args...),
		Log:  filepath.Join(n.config.Dir, "satellite.log"),
	}
	if err := n.Satellite.Start(); err != nil {
		return err
	}
	if err := n.AwaitSatellite(ctx); err != nil {
		return err
	}
	for i := range n.config.Nodes {
		if err := n.addNode(i); err != nil {
			return err
		}
	}
	if err := n.AwaitNodes(ctx, n.config.Nodes); err != nil {
		return err
	}
	return n.createProject(ctx)
}

// Restart ends every process, then starts them all again on what they kept.
func (n *Network) Restart(ctx context.Context) error {
	if err := n.Close(); err != nil {
		return err
	}
	for _, process := range append([]*Process{n.Satellite}, n.Nodes...) {
		if err := process.Start(); err != nil {
			return err
		}
	}
	return n.AwaitNodes(ctx, len(n.Nodes))
}

// AwaitSatellite waits until the satellite answers on its admin socket. Once
// it has, its listen address stays the same over restarts.
func (n *Network) AwaitSatellite(ctx context.Context) error {
	return n.await(ctx, "the satellite to start", func() error {
		_, err := n.Status(ctx)
		return err
	})
}

func (n *Network) addNode(i int) error {
	name := fmt.Sprintf("node%02d", i)
	dir := filepath.Join(n.config.Dir, name)
	args := []string{"run", "--dir", dir, "--satellite", filepath.Join(n.satelliteDir(), "address"), "--listen", "/ip4/127.0.0.1/tcp/0"}
	if i < len(n.config.Data) {
		args = append(args, "--data", n.config.Data[i])
	}
	node := &Process{Name: name, Path: n.binary("storagenode"), Args: args, Log: dir + ".log"}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := node.Start(); err != nil {
		return err
	}
	n.Nodes = append(n.Nodes, node)
	return nil
}

// AwaitNodes waits until at least count nodes are online and a group of them
// can be written to.
func (n *Network) AwaitNodes(ctx context.Context, count int) error {
	return n.await(ctx, fmt.Sprintf("%d nodes to come online", count), func() error {
		status, err := n.Status(ctx)
		if err != nil {
			return err
		}
		if status.NodesOnline < count || status.GroupsWritable == 0 {
			return fmt.Errorf("%d nodes are online, %d groups writable", status.NodesOnline, status.GroupsWritable)
		}
		return nil
	})
}

// Status is the part of `satellite status` that the harness acts on.
type Status struct {
	NodesOnline    int    `json:"nodes_online"`
	GroupsWritable int    `json:"groups_writable"`
	Trouble        string `json:"trouble"`
}

// Status asks the running satellite how it is.
func (n *Network) Status(ctx context.Context) (Status, error) {
	var status Status
	out, err := n.SatelliteCommand(ctx, "status", "-o", "json")
	if err != nil {
		return status, err
	}
	return status, json.Unmarshal(out, &status)
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

// NodeDir is where node i keeps everything.
func (n *Network) NodeDir(i int) string {
	return filepath.Join(n.config.Dir, fmt.Sprintf("node%02d", i))
}

// Close ends every process, the satellite last.
func (n *Network) Close() error {
	var failures []error
	for _, node := range n.Nodes {
		node.Signal(os.Interrupt)
	}
	for _, node := range n.Nodes {
		failures = append(failures, node.Stop())
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
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited too long for %s (logs are in %s): %w", what, n.config.Dir, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
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
