package satellite

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/grant"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// running is a satellite that runs, with a client of its admin socket.
type running struct {
	*Satellite
	t     testing.TB
	admin pb.AdminClient
	stop  func()
}

func testConfig(dir string) Config {
	return Config{
		Dir: dir, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Scheme: testScheme,
		CheckIn: time.Minute, Settle: 20 * time.Millisecond, Version: "test", Logger: noLog,
	}
}

func start(t testing.TB, c Config) *running {
	t.Helper()
	s, err := New(t.Context(), c)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r := &running{Satellite: s, t: t}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(r.stop)
	r.await("the admin socket", func() bool {
		var closing func() error
		r.admin, closing, err = DialAdmin(t.Context(), c.Dir)
		if err == nil {
			t.Cleanup(func() { _ = closing() })
		}
		return err == nil
	})
	return r
}

func (r *running) await(what string, ready func() bool) {
	r.t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-deadline:
			r.t.Fatalf("waited too long for %s", what)
		case <-tick.C:
		}
	}
}

func (r *running) status() *pb.StatusResponse {
	r.t.Helper()
	m, err := r.admin.Status(r.t.Context(), &pb.StatusRequest{})
	must(r.t, err)
	return m
}

// testNode is a storage node that only talks to the satellite.
type testNode struct {
	*satclient.Client
	host *transport.Host
}

func (r *running) newNode(key ident.Key) *testNode {
	r.t.Helper()
	host, err := transport.New(transport.Config{Key: key})
	must(r.t, err)
	r.t.Cleanup(func() { _ = host.Close() })
	at, err := transport.ParseAddress(r.Address())
	must(r.t, err)
	client, err := satclient.New(host, at, satclient.Options{})
	must(r.t, err)
	r.t.Cleanup(func() { _ = client.Close() })
	return &testNode{client, host}
}

// formGroups has ten nodes check in until there are groups.
func (r *running) formGroups(keys []ident.Key) (nodes []*testNode) {
	r.t.Helper()
	for _, key := range keys {
		n := r.newNode(key)
		_, err := n.CheckIn(r.t.Context(), checkInOf(roomy))
		must(r.t, err)
		nodes = append(nodes, n)
	}
	r.await("groups", func() bool { return r.status().GroupsWritable == 4 })
	return nodes
}

func newKeys(t testing.TB, n int) (keys []ident.Key) {
	for range n {
		keys = append(keys, newKey(t))
	}
	return keys
}

func TestRunAndRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "satellite")
	keys := newKeys(t, 10)
	s := start(t, testConfig(dir))
	text, err := os.ReadFile(filepath.Join(dir, "address"))
	must(t, err)
	if strings.TrimSpace(string(text)) != s.Address() {
		t.Errorf("address file has %q, want %q", text, s.Address())
	}
	s.formGroups(keys)
	p, err := s.admin.CreateProject(t.Context(), &pb.CreateProjectRequest{Name: "demo", Salt: make([]byte, 16), KeyCheck: make([]byte, 16)})
	must(t, err)
	groups, err := s.admin.ListGroups(t.Context(), &pb.ListGroupsRequest{})
	must(t, err)
	s.stop()

	if _, _, err := DialAdmin(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "no satellite is running") {
		t.Errorf("dialling a stopped satellite: %v", err)
	}
	c := testConfig(dir)
	c.Scheme.Total = 0
	c.Scheme = testScheme
	again := start(t, c)
	if again.Address() != s.Address() || again.ID() != s.ID() {
		t.Errorf("address %s after a restart, %s before", again.Address(), s.Address())
	}
	known, err := again.admin.ListGroups(t.Context(), &pb.ListGroupsRequest{})
	must(t, err)
	if len(known.Groups) != 4 {
		t.Fatalf("%d groups after a restart", len(known.Groups))
	}
	for i, g := range known.Groups {
		for slot := range g.Nodes {
			if string(g.Nodes[slot]) != string(groups.Groups[i].Nodes[slot]) {
				t.Fatalf("group %d changed", g.Group)
			}
		}
	}
	if st := again.status(); st.Nodes != 10 || st.NodesOnline != 0 || st.Projects != 1 || st.GroupsWritable != 0 || st.Scheme != "4/6/8/10" {
		t.Errorf("status after a restart: %+v", st)
	}
	got, err := again.admin.GetProject(t.Context(), &pb.GetProjectRequest{Name: "demo"})
	must(t, err)
	if string(got.Id) != string(p.Id) || string(got.ApiKey) == string(p.ApiKey) || len(got.ApiKey) == 0 {
		t.Errorf("project after a restart: %+v", got)
	}
	again.formGroups(keys)
	if st := again.status(); st.Groups != 4 {
		t.Errorf("%d groups when the nodes are back", st.Groups)
	}
}

func TestAdmin(t *testing.T) {
	// A directory whose path is too long for a socket address.
	dir := filepath.Join(t.TempDir(), strings.Repeat("long-", 30))
	s := start(t, testConfig(dir))
	nodes := s.formGroups(newKeys(t, 10))
	for name, m := range map[string]*pb.CreateProjectRequest{
		"bad name":     {Name: "a b", Salt: make([]byte, 16), KeyCheck: make([]byte, 16)},
		"no salt":      {Name: "ab", KeyCheck: make([]byte, 16)},
		"no key check": {Name: "ab", Salt: make([]byte, 16)},
	} {
		_, err := s.admin.CreateProject(t.Context(), m)
		wantError(t, name, satclient.FromStatus(err), satclient.ErrBadRequest)
	}
	m := &pb.CreateProjectRequest{Name: "demo", Salt: []byte("0123456789abcdef"), KeyCheck: []byte("fedcba9876543210")}
	p, err := s.admin.CreateProject(t.Context(), m)
	must(t, err)
	if p.Name != "demo" || p.Satellite != s.Address() || string(p.Salt) != string(m.Salt) || string(p.KeyCheck) != string(m.KeyCheck) {
		t.Errorf("project %+v", p)
	}
	if g := (grant.Grant{Satellite: p.Satellite, APIKey: p.ApiKey, RootKey: [32]byte{1}}); g.Validate() != nil {
		t.Errorf("no grant can be made: %v", g.Validate())
	}
	_, err = s.admin.CreateProject(t.Context(), m)
	wantError(t, "again", satclient.FromStatus(err), satclient.ErrProjectExists)
	_, err = s.admin.GetProject(t.Context(), &pb.GetProjectRequest{Name: "other"})
	wantError(t, "unknown project", satclient.FromStatus(err), satclient.ErrProjectNotFound)
	projects, err := s.admin.ListProjects(t.Context(), &pb.ListProjectsRequest{})
	must(t, err)
	if len(projects.Projects) != 1 || len(projects.Projects[0].ApiKey) != 0 {
		t.Errorf("projects %+v", projects.Projects)
	}

	_ = nodes[0].host.Close()
	s.await("a node to be offline", func() bool { return s.status().NodesOnline == 9 })
	list, err := s.admin.ListNodes(t.Context(), &pb.ListNodesRequest{})
	must(t, err)
	if len(list.Nodes) != 10 {
		t.Fatalf("%d nodes", len(list.Nodes))
	}
	for _, n := range list.Nodes {
		gone := string(n.Id) == string(idBytes(nodes[0].host.ID()))
		if n.Online == gone || n.Used != 5 || n.Free != roomy || n.Groups != 4 || n.LastSeen == 0 {
			t.Errorf("node %+v", n)
		}
	}
	groups, err := s.admin.ListGroups(t.Context(), &pb.ListGroupsRequest{})
	must(t, err)
	for _, g := range groups.Groups {
		if g.Online != 9 || len(g.Nodes) != 10 || g.Scheme != "4/6/8/10" || g.Epoch != 1 {
			t.Errorf("group %+v", g)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "admin.sock"))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("admin socket has mode %v", info.Mode())
	}
}

func idBytes(id ident.ID) []byte { return id[:] }

// TestNews tells a node of its groups once, and of what it has not followed.
func TestNews(t *testing.T) {
	s := start(t, testConfig(t.TempDir()))
	keys := newKeys(t, 10)
	nodes := s.formGroups(keys)
	m := checkInOf(roomy)
	res, err := nodes[3].CheckIn(t.Context(), m)
	must(t, err)
	if len(res.Groups) != 4 || res.IntervalMs != 60_000 || res.Staging != 24*3600 {
		t.Fatalf("check-in is answered by %+v", res)
	}
	for _, g := range res.Groups {
		record, err := order.OpenGroup(g.Record, s.ID())
		must(t, err)
		if slot, holds := record.SlotOf(keys[3].ID()); !holds || record.ID != g.Group || slot < 0 {
			t.Errorf("group %+v", record)
		}
		m.Cursors = append(m.Cursors, &pb.Cursor{Group: g.Group, Epoch: g.Epoch, Seq: g.Head})
	}
	res, err = nodes[3].CheckIn(t.Context(), m)
	must(t, err)
	for _, g := range res.Groups {
		if g.Record != nil {
			t.Error("a group record was sent again")
		}
	}
	group := res.Groups[0].Group
	j, err := nodes[3].Journal(t.Context(), &pb.JournalRequest{Group: group})
	must(t, err)
	head, err := order.OpenHead(j.Head, s.ID())
	must(t, err)
	if len(j.Entries) != 0 || head.Group != group || head.Seq != 0 {
		t.Errorf("empty journal: %+v, head %+v", j.Entries, head)
	}
	stranger := s.newNode(newKey(t))
	_, err = stranger.Journal(t.Context(), &pb.JournalRequest{Group: group})
	wantError(t, "a stranger's journal", err, satclient.ErrGroupNotFound)
	_, err = nodes[3].Journal(t.Context(), &pb.JournalRequest{Group: 99})
	wantError(t, "unknown journal", err, satclient.ErrGroupNotFound)
	_, err = nodes[3].CheckIn(t.Context(), &pb.CheckInRequest{})
	wantError(t, "empty check-in", err, satclient.ErrBadRequest)
	many := checkInOf(roomy)
	many.Cursors = make([]*pb.Cursor, maxCursors+1)
	_, err = nodes[3].CheckIn(t.Context(), many)
	wantError(t, "too many cursors", err, satclient.ErrBadRequest)

	m.Cursors[2].Seq++ // further than the journal goes: no puts until it is proved or gone
	_, err = nodes[3].CheckIn(t.Context(), m)
	must(t, err)
	if s.registry.online(keys[3].ID()) {
		t.Error("a node ahead of the journal is put to")
	}
	m.Cursors[2].Seq--
	_, err = nodes[3].CheckIn(t.Context(), m)
	must(t, err)
	if !s.registry.online(keys[3].ID()) {
		t.Error("a node that is back in line is not put to")
	}
}

// TestContest shows the satellite its own word that a journal was longer.
func TestContest(t *testing.T) {
	dir := t.TempDir()
	s := start(t, testConfig(dir))
	keys := newKeys(t, 10)
	node := s.formGroups(keys)[0]
	key, _, err := ident.LoadOrCreate(filepath.Join(dir, "identity.key"))
	must(t, err)
	sign := func(key ident.Key, group uint32, seq uint64) *pb.ContestRequest {
		head, err := order.SignHead(key, &order.Head{Satellite: key.ID(), Group: group, Seq: seq, Issued: time.Now().Truncate(time.Second)})
		must(t, err)
		return &pb.ContestRequest{Head: head}
	}
	_, err = node.Contest(t.Context(), sign(newKey(t), 1, 10))
	wantError(t, "another's word", err, satclient.ErrBadRequest)
	_, err = node.Contest(t.Context(), &pb.ContestRequest{})
	wantError(t, "no word", err, satclient.ErrBadRequest)
	_, err = node.Contest(t.Context(), sign(key, 1, 0))
	must(t, err)
	if st := s.status(); st.Trouble != "" || st.GroupsWritable != 4 {
		t.Fatalf("trouble without a reason: %+v", st)
	}
	_, err = s.admin.AcceptLoss(t.Context(), &pb.AcceptLossRequest{})
	wantError(t, "nothing to accept", satclient.FromStatus(err), satclient.ErrBadRequest)

	_, err = node.Contest(t.Context(), sign(key, 1, 10))
	must(t, err)
	_, err = node.Contest(t.Context(), sign(key, 77, 5)) // a group that is not there any more
	must(t, err)
	create := &pb.CreateProjectRequest{Name: "demo", Salt: make([]byte, 16), KeyCheck: make([]byte, 16)}
	troubled := func(s *running) {
		t.Helper()
		if st := s.status(); !strings.Contains(st.Trouble, "journal of group 1 has 10 entries, but it has 0") || st.GroupsWritable != 0 {
			t.Fatalf("status in trouble: %+v", st)
		}
		_, err = s.admin.CreateProject(t.Context(), create)
		wantError(t, "writing in trouble", satclient.FromStatus(err), satclient.ErrRefusing)
	}
	troubled(s)
	s.stop()
	s = start(t, testConfig(dir))
	troubled(s)
	node = s.formGroupsInTrouble(keys)
	_, err = s.admin.AcceptLoss(t.Context(), &pb.AcceptLossRequest{})
	must(t, err)
	_, err = s.admin.CreateProject(t.Context(), create)
	must(t, err)
	for _, m := range []*pb.ContestRequest{sign(key, 1, 10), sign(key, 77, 5)} {
		_, err = node.Contest(t.Context(), m)
		must(t, err)
	}
	j, err := node.Journal(t.Context(), &pb.JournalRequest{Group: 1})
	must(t, err)
	head, err := order.OpenHead(j.Head, s.ID())
	must(t, err)
	if st := s.status(); st.Trouble != "" || head.Seq != 11 {
		t.Errorf("accepted, but status is %+v and the journal ends at %d", st, head.Seq)
	}
	if len(j.Entries) != 0 || !j.Sparse || j.Through != 11 || j.Base != 11 {
		t.Errorf("nodes that have followed it to 10 are told %+v", j)
	}
}

// formGroupsInTrouble has the nodes check in; no group can be written.
func (r *running) formGroupsInTrouble(keys []ident.Key) *testNode {
	r.t.Helper()
	var node *testNode
	for _, key := range keys {
		node = r.newNode(key)
		_, err := node.CheckIn(r.t.Context(), checkInOf(roomy))
		must(r.t, err)
	}
	return node
}

func TestRefusesToStart(t *testing.T) {
	dir := t.TempDir()
	start(t, testConfig(dir))
	refused := func(what string, c Config, words string) {
		t.Helper()
		s, err := New(t.Context(), c)
		if err == nil {
			_ = s.Close()
			t.Errorf("%s: it starts", what)
			return
		}
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %q does not say %q", what, err, words)
		}
	}
	refused("a second process", testConfig(dir), "in use by another process")
	c := testConfig(t.TempDir())
	c.Scheme.Success = 20
	refused("bad scheme", c, "scheme")
	c = testConfig(t.TempDir())
	c.Listen = []string{"127.0.0.1:7777"}
	refused("bad multiaddr", c, "127.0.0.1:7777")
	c = testConfig(t.TempDir())
	c.Announce = []string{"nonsense"}
	refused("bad announced multiaddr", c, "nonsense")
	refused("no directory", Config{}, "needs a directory")
	c = testConfig(t.TempDir())
	c.Staging = time.Minute
	refused("short staging", c, "order limits")
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	refused("a file for a directory", testConfig(file), file)

	other := t.TempDir()
	s := start(t, testConfig(other))
	s.stop()
	must(t, os.Remove(filepath.Join(other, "identity.key")))
	refused("identity gone", testConfig(other), "another satellite")
	if os.Geteuid() != 0 { // root may write anywhere
		readOnly := t.TempDir()
		must(t, os.Chmod(readOnly, 0o500))
		refused("read-only directory", testConfig(readOnly), "cannot be written")
	}
}
