package storagenode

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cairnstorage/cairn/proto/pb"
)

// maxSocketPath is how long the path of a unix socket may be on every system.
const maxSocketPath = 103

func socketPath(dir string) (string, error) {
	path := filepath.Join(dir, "admin.sock")
	if len(path) > maxSocketPath {
		return "", fmt.Errorf("the path %s is too long for a socket: use a directory with a shorter name", path)
	}
	return path, nil
}

// admin serves pb.NodeAdmin on a socket in the node's directory.
type admin struct {
	pb.UnimplementedNodeAdminServer
	node     *Node
	listener net.Listener
	server   *grpc.Server
	stopOnce sync.Once
}

func (n *Node) openAdmin() (*admin, error) {
	path, err := socketPath(n.config.Dir)
	if err != nil {
		return nil, err
	}
	// What is there was left by a process that was killed: this one holds the
	// lock of the directory.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		listener.Close()
		return nil, err
	}
	a := &admin{node: n, listener: listener, server: grpc.NewServer()}
	pb.RegisterNodeAdminServer(a.server, a)
	return a, nil
}

func (a *admin) serve() error {
	if err := a.server.Serve(a.listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("admin socket: %w", err)
	}
	return nil
}

func (a *admin) stop() {
	a.stopOnce.Do(func() {
		a.server.Stop()
		a.listener.Close()
	})
}

// Info implements pb.NodeAdminServer.
func (a *admin) Info(context.Context, *pb.InfoRequest) (*pb.InfoResponse, error) {
	n := a.node
	id := n.ID()
	u := n.store.Usage()
	res := &pb.InfoResponse{
		Id:        id[:],
		Addresses: n.Addresses(),
		Version:   n.config.Version,
		Started:   n.started.Unix(),
		Satellite: n.satellite.String(),
		Capacity:  uint64(u.Capacity),
		Used:      uint64(u.Used),
		Free:      uint64(u.Free),
		Shards:    uint64(u.Shards),
		Staged:    uint64(u.Staged),
		Missing:   uint64(u.Missing),
	}
	trouble := n.troubles()
	for _, d := range u.Dirs {
		res.Data = append(res.Data, &pb.DataDir{
			Path: d.Path, Used: uint64(d.Used), Free: uint64(d.Free), Shards: uint64(d.Shards), Trouble: d.Trouble,
		})
		if d.Trouble != "" {
			trouble[d.Path] = d.Trouble
		}
	}
	res.Trouble = joinTroubles(trouble)
	at, standing := n.view.last()
	if res.Standing = standing; !at.IsZero() {
		res.LastCheckIn = at.Unix()
	}
	var err error
	if res.Healing, err = n.healing(); err != nil {
		return nil, err
	}
	res.Scrubbing = n.scrubbing()
	if n.departed() != nil {
		res.Departure = departurePath(n.config.Dir)
	}
	return res, n.addGroups(res)
}

func joinTroubles(trouble map[string]string) string {
	var lines []string
	for _, about := range slices.Sorted(maps.Keys(trouble)) {
		lines = append(lines, about+": "+trouble[about])
	}
	return strings.Join(lines, "\n")
}

func (n *Node) addGroups(res *pb.InfoResponse) error {
	for _, p := range n.parts() {
		seq, err := n.store.Cursor(p.group.ID)
		if err != nil {
			return err
		}
		missing, _, err := n.store.MissingRuns(p.group.ID)
		if err != nil {
			return err
		}
		out := &pb.GroupFollow{
			Group: p.group.ID, Epoch: p.group.Epoch, Slot: uint32(p.slot), Successor: p.successor,
			Cursor: seq, Head: p.end, Missing: missing.Len(),
		}
		if p.head != nil {
			out.Head = max(out.Head, p.head.Seq)
		}
		res.Groups = append(res.Groups, out)
	}
	return nil
}

// ErrNotRunning is returned by AskInfo when no node runs in the directory.
var ErrNotRunning = errors.New("no storage node is running there")

// Scrub implements pb.NodeAdminServer.
func (a *admin) Scrub(ctx context.Context, _ *pb.ScrubRequest) (*pb.Scrubbing, error) {
	select {
	case <-a.node.scrubber.Now():
		return a.node.scrubbing(), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// AskInfo asks the node that runs in dir how it is.
func AskInfo(ctx context.Context, dir string) (*pb.InfoResponse, error) {
	return ask(dir, func(c pb.NodeAdminClient) (*pb.InfoResponse, error) { return c.Info(ctx, &pb.InfoRequest{}) })
}

// AskScrub has the node that runs in dir read all its shards, and waits for that.
func AskScrub(ctx context.Context, dir string) (*pb.Scrubbing, error) {
	return ask(dir, func(c pb.NodeAdminClient) (*pb.Scrubbing, error) { return c.Scrub(ctx, &pb.ScrubRequest{}) })
}

// ask calls the node that runs in dir. Error: ErrNotRunning.
func ask[T any](dir string, call func(pb.NodeAdminClient) (T, error)) (answer T, err error) {
	path, err := socketPath(dir)
	if err != nil {
		return answer, err
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		return answer, fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	conn.Close()
	client, err := grpc.NewClient("passthrough:///admin",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		}))
	if err != nil {
		return answer, err
	}
	defer client.Close()
	return call(pb.NewNodeAdminClient(client))
}
