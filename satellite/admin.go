package satellite

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cairnstorage/cairn/proto/grant"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/audit"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

const adminSocket = "admin.sock" // in Dir

// maxReason bounds what an operator gives as a reason, in bytes.
const maxReason = 200

// maxListing is the size in bytes of the longest listing.
const maxListing = 64 << 20

// adminServer is the Admin service: whoever may open the socket may use it.
type adminServer struct {
	pb.UnimplementedAdminServer
	*Satellite
}

// CreateProject implements pb.AdminServer.
func (s *adminServer) CreateProject(ctx context.Context, m *pb.CreateProjectRequest) (*pb.Project, error) {
	if err := s.refusing(); err != nil {
		return nil, err
	}
	var salt, check [16]byte
	if len(m.Salt) != grant.SaltSize || len(m.KeyCheck) != len(check) {
		return nil, fmt.Errorf("%w: salt and key check have 16 bytes each", satclient.ErrBadRequest)
	}
	copy(salt[:], m.Salt)
	copy(check[:], m.KeyCheck)
	p, err := s.meta.CreateProject(ctx, m.Name, salt, check)
	if err != nil {
		return nil, err
	}
	s.log.Info("created project", "name", p.Name, "id", p.ID)
	return s.withKey(&meta.ProjectUsage{Project: p})
}

// GetProject implements pb.AdminServer; it makes another API key.
func (s *adminServer) GetProject(ctx context.Context, m *pb.GetProjectRequest) (*pb.Project, error) {
	p, err := s.meta.ProjectByName(ctx, m.Name)
	if err != nil {
		return nil, err
	}
	return s.withKey(&p)
}

// ListProjects implements pb.AdminServer.
func (s *adminServer) ListProjects(ctx context.Context, _ *pb.ListProjectsRequest) (*pb.ListProjectsResponse, error) {
	projects, err := s.meta.Projects(ctx)
	if err != nil {
		return nil, err
	}
	answer := &pb.ListProjectsResponse{}
	for i := range projects {
		answer.Projects = append(answer.Projects, s.projectMessage(&projects[i]))
	}
	return answer, nil
}

func (s *adminServer) projectMessage(p *meta.ProjectUsage) *pb.Project {
	return &pb.Project{
		Id: p.ID[:], Name: p.Name, Created: p.Created.UnixMilli(),
		Salt: p.Salt[:], KeyCheck: p.KeyCheck[:], Satellite: s.address,
		Objects: p.Objects, Bytes: p.Bytes,
	}
}

// withKey is a project with a new API key.
func (s *adminServer) withKey(p *meta.ProjectUsage) (*pb.Project, error) {
	m := s.projectMessage(p)
	var err error
	m.ApiKey, err = newAPIKey(&p.Project, s.rand)
	return m, err
}

// NodeEvidence implements pb.AdminServer.
func (s *adminServer) NodeEvidence(ctx context.Context, m *pb.NodeEvidenceRequest) (*pb.NodeEvidenceResponse, error) {
	id, err := ident.IDFromBytes(m.Node)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", satclient.ErrBadRequest, err)
	}
	files, err := s.meta.Evidence(ctx, id)
	return &pb.NodeEvidenceResponse{Files: files}, err
}

// AcceptLoss implements pb.AdminServer.
func (s *adminServer) AcceptLoss(ctx context.Context, _ *pb.AcceptLossRequest) (*pb.AcceptLossResponse, error) {
	return &pb.AcceptLossResponse{}, s.acceptLoss(ctx)
}

// ReinstateNode implements pb.AdminServer.
func (s *adminServer) ReinstateNode(ctx context.Context, m *pb.ReinstateNodeRequest) (*pb.ReinstateNodeResponse, error) {
	id, err := ident.IDFromBytes(m.Id)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", satclient.ErrBadRequest, err)
	}
	return &pb.ReinstateNodeResponse{}, s.registry.decide(ctx, id, func(was audit.Standing) (audit.Standing, error) {
		return was.Reinstate(s.now())
	})
}

// DisqualifyNode implements pb.AdminServer.
func (s *adminServer) DisqualifyNode(ctx context.Context, m *pb.DisqualifyNodeRequest) (*pb.DisqualifyNodeResponse, error) {
	id, err := ident.IDFromBytes(m.Id)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", satclient.ErrBadRequest, err)
	}
	if reason := m.Reason; reason == "" || len(reason) > maxReason || strings.ContainsFunc(reason, unicode.IsControl) {
		return nil, fmt.Errorf("%w: the reason has 1 to %d printable characters", satclient.ErrBadRequest, maxReason)
	}
	return &pb.DisqualifyNodeResponse{}, s.registry.decide(ctx, id, func(was audit.Standing) (audit.Standing, error) {
		return was.Disqualify(m.Reason, s.now())
	})
}

// listenAdmin makes the admin socket. Whoever holds the directory's lock may
// remove the socket of a process that has ended.
func listenAdmin(dir string) (net.Listener, error) {
	path, release, err := socketPath(dir)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	return l, nil
}

// socketPath is a path to the admin socket that fits in the 100-odd bytes that
// the address of a socket can have, for as long as it is not released.
func socketPath(dir string) (path string, release func(), err error) {
	path = filepath.Join(dir, adminSocket)
	if len(path) < 100 {
		return path, func() {}, nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), adminSocket), func() { d.Close() }, nil
}

// DialAdmin returns a client of the satellite that runs on dir. The error says
// when none does.
func DialAdmin(ctx context.Context, dir string) (pb.AdminClient, func() error, error) {
	path, release, err := socketPath(dir)
	if err != nil {
		return nil, nil, notRunning(dir, err)
	}
	// A connection made here tells why there is none; gRPC would be vague.
	var dialer net.Dialer
	probe, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		release()
		return nil, nil, notRunning(dir, err)
	}
	_ = probe.Close()
	dial := func(ctx context.Context, _ string) (net.Conn, error) { return dialer.DialContext(ctx, "unix", path) }
	conn, err := grpc.NewClient("passthrough:///satellite", grpc.WithContextDialer(dial),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxListing)))
	if err != nil {
		release()
		return nil, nil, err
	}
	return pb.NewAdminClient(conn), func() error { defer release(); return conn.Close() }, nil
}

func notRunning(dir string, err error) error {
	if _, statErr := os.Stat(dir); os.IsNotExist(statErr) {
		return fmt.Errorf("there is no directory %s: give the --dir of a satellite", dir)
	}
	if os.IsPermission(err) {
		return fmt.Errorf("the satellite on %s may be used by another user only: %w", dir, err)
	}
	return fmt.Errorf("no satellite is running on %s: start one with `satellite run --dir %s`", dir, dir)
}
