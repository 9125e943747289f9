package network

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cairnstorage/cairn/proto/grant"
	"github.com/cairnstorage/cairn/proto/pb"
)

// Grant makes a project and returns the access grant to it.
func (n *Network) Grant(ctx context.Context, project, passphrase string) (string, error) {
	conn, err := n.admin()
	if err != nil {
		return "", err
	}
	defer conn.Close()
	salt, root := rootKey(passphrase)
	check := grant.KeyCheck(root)
	made, err := pb.NewAdminClient(conn).CreateProject(ctx, &pb.CreateProjectRequest{Name: project, Salt: salt, KeyCheck: check[:]})
	if err != nil {
		return "", fmt.Errorf("create project %s: %w", project, err)
	}
	return grant.Grant{Satellite: n.SatelliteAddress(), APIKey: made.ApiKey, RootKey: root}.String(), nil
}

// Status is what `satellite status` shows.
func (n *Network) Status(ctx context.Context) (*pb.StatusResponse, error) {
	conn, err := n.admin()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return pb.NewAdminClient(conn).Status(ctx, &pb.StatusRequest{})
}

// Verify compares the metadata with what all nodes hold, and returns the outcome.
// With prove each shard has a leaf proved.
func (n *Network) Verify(ctx context.Context, prove bool) (*pb.VerifyEvent, error) {
	conn, err := n.admin()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	events, err := pb.NewAdminClient(conn).Verify(ctx, &pb.VerifyRequest{ProveEach: prove})
	if err != nil {
		return nil, err
	}
	for {
		e, err := events.Recv()
		if err != nil || e.Done {
			return e, err
		}
	}
}

// AwaitNodes waits until at least so many nodes are online and a group of them
// takes uploads.
func (n *Network) AwaitNodes(ctx context.Context, count int) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		status, err := n.Status(ctx)
		if err == nil && int(status.NodesOnline) >= count && status.GroupsWritable > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited too long for %d nodes: %d are online, %d groups take uploads: %w",
				count, status.GetNodesOnline(), status.GetGroupsWritable(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (n *Network) admin() (*grpc.ClientConn, error) {
	socket := filepath.Join(n.SatelliteDir(), "admin.sock")
	return grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

var (
	derivedMu sync.Mutex
	derived   = make(map[string]derivedKey)
)

type derivedKey struct {
	salt []byte
	root [32]byte
}

// rootKey makes a salt and derives a root key with it, once for each passphrase:
// networks of one process have no secrets from each other, and tests that start
// many would spend more on this than on anything else.
func rootKey(passphrase string) (salt []byte, root [32]byte) {
	derivedMu.Lock()
	defer derivedMu.Unlock()
	k, ok := derived[passphrase]
	if !ok {
		k.salt = make([]byte, grant.SaltSize)
		rand.Read(k.salt)
		k.root = grant.RootKey([]byte(passphrase), k.salt)
		derived[passphrase] = k
	}
	return k.salt, k.root
}
