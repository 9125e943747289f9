package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/grant"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite"
)

// console runs commands as a user would.
type console struct {
	t        *testing.T
	env      map[string]string
	typed    []string // at prompts
	terminal bool
}

// run returns what a command prints on standard output and standard error.
func (c *console) run(args ...string) (stdout, stderr string, err error) {
	c.t.Helper()
	var out, errs bytes.Buffer
	a := &app{
		in: strings.NewReader(""), out: &out, err: &errs,
		getenv: func(name string) string { return c.env[name] },
		readSecret: func(string) (string, bool, error) {
			if !c.terminal {
				return "", false, nil
			}
			line := c.typed[0]
			c.typed = c.typed[1:]
			return line, true, nil
		},
	}
	root := a.command()
	root.SetArgs(args)
	err = root.ExecuteContext(c.t.Context())
	return out.String(), errs.String(), err
}

func (c *console) ok(args ...string) string {
	c.t.Helper()
	out, _, err := c.run(args...)
	if err != nil {
		c.t.Fatalf("satellite %v: %v", args, err)
	}
	return out
}

func (c *console) fails(words string, args ...string) {
	c.t.Helper()
	out, _, err := c.run(args...)
	if err == nil || !strings.Contains(err.Error(), words) {
		c.t.Errorf("satellite %v: error %v does not say %q", args, err, words)
	}
	if out != "" {
		c.t.Errorf("satellite %v failed and printed %q", args, out)
	}
}

// serve runs a satellite on a new directory.
func serve(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s, err := satellite.New(t.Context(), satellite.Config{
		Dir: dir, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Scheme: erasure.Scheme{Required: 4, RepairBelow: 6, Success: 8, Total: 10},
		Version: "test", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for {
		if _, closing, err := satellite.DialAdmin(t.Context(), dir); err == nil {
			_ = closing()
			return dir
		}
		select {
		case err := <-done:
			t.Fatal(err)
		default:
		}
	}
}

// grantIn returns the grant that is the last line of output, and alone there.
func grantIn(t *testing.T, out string) grant.Grant {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	g, err := grant.Parse(lines[len(lines)-1])
	if err != nil {
		t.Fatalf("last line of %q: %v", out, err)
	}
	return g
}

func TestProjects(t *testing.T) {
	dir := serve(t)
	c := &console{t: t, env: map[string]string{}}
	c.fails("no terminal", "project", "create", "demo", "--dir", dir)
	c.env[passphraseEnv] = "from the environment"
	first := grantIn(t, c.ok("project", "create", "demo", "--dir", dir))
	c.fails("project already exists", "project", "create", "demo", "--dir", dir)
	c.fails("project name", "project", "create", "a b", "--dir", dir)
	again := grantIn(t, c.ok("project", "grant", "demo", "--dir", dir))
	if again.RootKey != first.RootKey || again.Satellite != first.Satellite || string(again.APIKey) == string(first.APIKey) {
		t.Error("another grant of the project does not match the first")
	}

	file := filepath.Join(t.TempDir(), "passphrase")
	if err := os.WriteFile(file, []byte("from the environment\r\nand no more\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.env[passphraseEnv] = "wrong"
	if g := grantIn(t, c.ok("project", "grant", "demo", "--dir", dir, "--passphrase-file", file)); g.RootKey != first.RootKey {
		t.Error("the first line of the file is not the passphrase")
	}
	c.fails("not the passphrase", "project", "grant", "demo", "--dir", dir)
	if g := grantIn(t, c.ok("project", "grant", "demo", "--dir", dir, "--new-passphrase")); g.RootKey == first.RootKey {
		t.Error("another passphrase gives the same key")
	}
	c.fails("project not found", "project", "grant", "other", "--dir", dir)
	c.fails("--passphrase-file", "project", "grant", "demo", "--dir", dir, "--passphrase-file", file+"x")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.fails("empty", "project", "grant", "demo", "--dir", dir, "--passphrase-file", file)

	var list []map[string]any
	if err := json.Unmarshal([]byte(c.ok("project", "ls", "--dir", dir, "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0]["name"] != "demo" || list[0]["grant"] != nil {
		t.Errorf("projects %v", list)
	}
	var made map[string]any
	if err := json.Unmarshal([]byte(c.ok("project", "create", "second", "--dir", dir, "-o", "json")), &made); err != nil {
		t.Fatal(err)
	}
	grantIn(t, made["grant"].(string))
}

func TestPrompt(t *testing.T) {
	dir := serve(t)
	c := &console{t: t, terminal: true, typed: []string{"secret", "secret", "secret", "one", "other"}}
	first := grantIn(t, c.ok("project", "create", "demo", "--dir", dir))
	if again := grantIn(t, c.ok("project", "grant", "demo", "--dir", dir)); again.RootKey != first.RootKey {
		t.Error("the same passphrase gives another key")
	}
	c.fails("differ", "project", "create", "second", "--dir", dir)
	if len(c.typed) != 0 {
		t.Errorf("not asked for %v", c.typed)
	}
}

func TestListings(t *testing.T) {
	dir := serve(t)
	c := &console{t: t}
	for _, what := range []string{"node", "group", "project"} {
		if out := c.ok(what, "ls", "--dir", dir, "-o", "json"); strings.TrimSpace(out) != "[]" {
			t.Errorf("%s ls of nothing: %q", what, out)
		}
		if out := c.ok(what, "ls", "--dir", dir); strings.Count(out, "\n") != 1 {
			t.Errorf("%s ls of nothing: %q", what, out)
		}
	}
	var status map[string]any
	if err := json.Unmarshal([]byte(c.ok("status", "--dir", dir, "-o", "json")), &status); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"address", "nodes_online", "groups_writable", "trouble", "scheme"} {
		if _, there := status[key]; !there {
			t.Errorf("status %v lacks %s", status, key)
		}
	}
	if out := c.ok("status", "--dir", dir); !strings.Contains(out, "4/6/8/10") {
		t.Errorf("status: %q", out)
	}
	c.fails("no trouble", "accept-loss", "--dir", dir)
}

func TestNodeCommands(t *testing.T) {
	dir := serve(t)
	c := &console{t: t}
	const stranger = "12D3KooWArnL5GGgNPo8eJk8zUe3cHpgwykcggjDjVvytzAsULhC"
	c.fails("there is no node", "node", "reinstate", stranger, "--dir", dir)
	c.fails("there is no node", "node", "disqualify", stranger, "--reason", "sold", "--dir", dir)
	c.fails("reason", "node", "disqualify", stranger, "--dir", dir)
	c.fails("printable", "node", "disqualify", stranger, "--reason", "", "--dir", dir)
	c.fails("printable", "node", "disqualify", stranger, "--reason", "two\nlines", "--dir", dir)
	c.fails("arg", "node", "reinstate", "--dir", dir)
	c.fails("peer id", "node", "reinstate", "nonsense", "--dir", dir)
}

func lines(t *testing.T, print func(io.Writer)) []string {
	t.Helper()
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	print(w)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(out.String()), "\n")
}

func wantLine(t *testing.T, lines []string, words ...string) {
	t.Helper()
	for _, line := range lines {
		all := true
		for _, word := range words {
			all = all && strings.Contains(line, word)
		}
		if all {
			return
		}
	}
	t.Errorf("no line has %q:\n%s", words, strings.Join(lines, "\n"))
}

func TestPrintNodes(t *testing.T) {
	id := make([]byte, 32)
	id[0] = 1
	list := []nodeOut{
		newNodeOut(&pb.NodeInfo{Id: id, Online: true, State: pb.NodeState_NODE_STATE_ONLINE, Reason: "vetted", Proved: 120, Failed: 2, Suspicion: 0.25, Presence: 0.995, Missing: 7}),
		newNodeOut(&pb.NodeInfo{Id: id, State: pb.NodeState_NODE_STATE_DISQUALIFIED, Reason: "by the operator: sold", Suspicion: 1}),
		newNodeOut(&pb.NodeInfo{Id: id, Online: true, Impaired: true, State: pb.NodeState_NODE_STATE_EXITING}),
		newNodeOut(&pb.NodeInfo{Id: id}),
	}
	out := lines(t, func(w io.Writer) { printNodes(w, list) })
	if len(out) != 5 {
		t.Errorf("%d lines", len(out))
	}
	wantLine(t, out, "ID", "STATE", "SUSPICION")
	wantLine(t, out, "online", "yes", "120", "25%", "100%", "vetted")
	wantLine(t, out, "disqualified", "no", "100%", "by the operator: sold")
	wantLine(t, out, "exiting", "impaired")
	wantLine(t, out, "unknown", "no")
}

func TestPrintGroups(t *testing.T) {
	id, next := make([]byte, 32), make([]byte, 32)
	id[0], next[0] = 1, 2
	list := []groupOut{
		newGroupOut(&pb.GroupInfo{
			Group: 3, Epoch: 7, Scheme: "1/1/1/2", Health: "reduced", Online: 1, Nodes: [][]byte{id, id},
			Found: &pb.GroupHealth{Present: 1, Lowest: 1, Missing: 42, Left: 5 << 20},
			Slots: []*pb.SlotInfo{{Holder: "gone", Waiting: "away for too long: start more"}, {Holder: "present", Claimed: 9, Successor: next}},
		}),
		newGroupOut(&pb.GroupInfo{Group: 4, Epoch: 1, Scheme: "1/1/1/2", Health: "whole", Nodes: [][]byte{id, id}}),
	}
	out := lines(t, func(w io.Writer) { printGroups(w, list) })
	wantLine(t, out, "3", "7", "reduced", "1/2", "42", "5.0 MiB")
	wantLine(t, out, "slot 0", "waits for another holder: away for too long: start more")
	wantLine(t, out, "slot 1 goes from "+nodeID(id)+" to "+nodeID(next))
	wantLine(t, out, "4", "whole", "-")
	text, err := json.Marshal(list)
	if err != nil || !strings.Contains(string(text), `"lowest_coverage":1`) || !strings.Contains(string(text), `"found":null`) {
		t.Errorf("json %s, %v", text, err)
	}
}

func TestPrintStatus(t *testing.T) {
	a := &app{dir: "/srv/satellite"}
	status := func(m *pb.StatusResponse) []string {
		t.Helper()
		out := newStatusOut(m)
		return lines(t, func(w io.Writer) { a.printStatus(w, &out) })
	}
	wantLine(t, status(&pb.StatusResponse{}), "health", "not known yet")
	well := status(&pb.StatusResponse{Nodes: 3, NodesOnline: 2, Groups: 5, GroupsWritable: 4, GroupsWhole: 5, Looked: true})
	wantLine(t, well, "health", "groups: 5 whole")
	ill := status(&pb.StatusResponse{
		Nodes: 3, NodesOnline: 2, Looked: true, GroupsWhole: 1, GroupsEndangered: 2, SegmentsEndangered: 30, SegmentsUnreadable: 20, SegmentsLost: 10,
		SegmentsBad: 4, SlotsWaiting: 6, HealingLeft: 10 << 20, HealingRate: 1 << 20, HealingSeconds: 10,
		NodesByState: []*pb.NodeCount{{State: pb.NodeState_NODE_STATE_SUSPENDED, Nodes: 1}, {State: pb.NodeState_NODE_STATE_ONLINE, Nodes: 2}},
	})
	wantLine(t, ill, "nodes", "3, 2 online; standing: 2 online, 1 suspended")
	wantLine(t, ill, "groups: 1 whole, 2 endangered")
	wantLine(t, ill, "about 30 segments are endangered, 20 of them cannot be read now, 10 whoever may come back")
	wantLine(t, ill, "4 segments were encoded wrong")
	wantLine(t, ill, "6 slots need another holder")
	wantLine(t, ill, "healing", "10 MiB left, 1.0 MiB a second, about 10s to go")
}

func TestMistakes(t *testing.T) {
	c := &console{t: t, env: map[string]string{passphraseEnv: "x"}}
	empty := t.TempDir()
	c.fails("no satellite is running", "status", "--dir", empty)
	c.fails("no satellite is running", "project", "create", "demo", "--dir", empty)
	c.fails("there is no directory", "node", "ls", "--dir", filepath.Join(empty, "none"))
	c.fails("--dir", "status")
	c.fails("use text or json", "status", "--dir", empty, "-o", "yaml")
	c.fails("--scheme", "run", "--dir", empty, "--scheme", "4/6/8")
	c.fails("--scheme", "run", "--dir", empty, "--scheme", "10/8/6/4")
	c.fails("nonsense", "run", "--dir", empty, "--listen", "nonsense")
	c.fails("--offline-grace", "run", "--dir", empty, "--offline-grace", "0s")
	c.fails("--vetting", "run", "--dir", empty, "--vetting", "-1")
	c.fails("--log-level", "run", "--dir", empty, "--log-level", "loud")
	c.fails("--log-format", "run", "--dir", empty, "--log-format", "xml")
	c.fails("nonsense", "run", "--dir", empty, "--metrics", "nonsense")
	c.fails("--metrics", "run", "--dir", empty, "--pprof")
	c.fails("unknown command", "frobnicate", "--dir", empty)
	c.fails("unknown command", "node", "frobnicate", "--dir", empty)
}

func TestStatusInTrouble(t *testing.T) {
	var out bytes.Buffer
	a := &app{dir: "/srv/satellite"}
	a.printStatus(&out, &statusOut{Trouble: "the metadata was rolled back"})
	for _, words := range []string{"TROUBLE", "rolled back", "satellite accept-loss --dir /srv/satellite"} {
		if !strings.Contains(out.String(), words) {
			t.Errorf("status lacks %q:\n%s", words, out.String())
		}
	}
}
