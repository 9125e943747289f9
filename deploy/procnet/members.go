package procnet

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

const anyPort = "/ip4/127.0.0.1/tcp/0"

// AddNode starts another storage node and returns its number. It does not wait
// until the node is online.
func (n *Network) AddNode() (int, error) {
	i := len(n.Nodes)
	args := []string{"run", "--dir", n.NodeDir(i), "--satellite", n.addressFile()}
	if i < len(n.config.Data) {
		args = append(args, "--data", n.config.Data[i])
	}
	if n.config.NodeArgs != nil {
		args = append(args, n.config.NodeArgs(i)...)
	}
	node := &Process{Name: nodeName(i), Path: n.binary("storagenode"), Args: listening(args), Log: n.NodeDir(i) + ".log"}
	if err := os.MkdirAll(n.NodeDir(i), 0o755); err != nil {
		return 0, err
	}
	if err := node.Start(); err != nil {
		return 0, err
	}
	n.Nodes = append(n.Nodes, node)
	return i, nil
}

// listening adds where to listen to arguments that do not say: a second place
// would be one more, not another.
func listening(args []string) []string {
	if slices.Contains(args, "--listen") {
		return args
	}
	return append(args, "--listen", anyPort)
}

// Wipe removes all that node i keeps, which must not run: when it is started
// again it is a node that the network does not know.
func (n *Network) Wipe(i int) error {
	if n.Nodes[i].Running() {
		return fmt.Errorf("%s still runs", n.Nodes[i].Name)
	}
	return os.RemoveAll(n.NodeDir(i))
}

// addLiar starts a node that misbehaves.
func (n *Network) addLiar(args []string) error {
	name := fmt.Sprintf("liar%02d", len(n.Liars))
	path := filepath.Join(n.config.Dir, name)
	liar := &Process{
		Name: name, Path: n.binary("liar"), Log: path + ".log",
		Args: append([]string{"--key", path + ".pem", "--satellite", n.addressFile()}, args...),
	}
	if err := liar.Start(); err != nil {
		return err
	}
	n.Liars = append(n.Liars, liar)
	return nil
}

// NodeDir is where node i keeps everything.
func (n *Network) NodeDir(i int) string { return filepath.Join(n.config.Dir, nodeName(i)) }

func nodeName(i int) string { return fmt.Sprintf("node%02d", i) }

func (n *Network) addressFile() string { return filepath.Join(n.satelliteDir(), "address") }
