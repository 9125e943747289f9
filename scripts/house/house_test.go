// Package house holds the tests of how the repository is laid out: who may
// import whom, and that what users are told to run can be parsed.
package house

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

const module = "github.com/cairnstorage/cairn/"

// imports maps each package of the module to what it imports itself, without
// its tests.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	command := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...")
	command.Dir = root(t)
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	graph := make(map[string][]string)
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		graph[strings.TrimPrefix(fields[0], module)] = fields[1:]
	}
	if len(graph) < 20 {
		t.Fatalf("go list found only %d packages", len(graph))
	}
	return graph
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}

var roles = []string{"uplink", "storagenode", "satellite"}

// clients are the only packages of a role that other roles may import.
var clients = []string{"storagenode/nodeclient", "satellite/satclient"}

// What all roles build on knows none of them, and the protocol does not know how
// daemons are watched.
func TestProtoImportsNoRole(t *testing.T) {
	for pkg, imported := range imports(t) {
		if !within(pkg, "proto") {
			continue
		}
		for _, path := range imported {
			path, ours := strings.CutPrefix(path, module)
			watches := within(path, "proto/observe") && !within(pkg, "proto/observe")
			if ours && (!within(path, "proto") || watches) {
				t.Errorf("%s imports %s", pkg, path)
			}
		}
	}
}

func TestRolesImportOnlyEachOthersClients(t *testing.T) {
	for pkg, imported := range imports(t) {
		role := roleOf(pkg)
		if role == "" {
			continue
		}
		for _, path := range imported {
			path, ours := strings.CutPrefix(path, module)
			if !ours {
				continue
			}
			other := roleOf(path)
			if other != "" && other != role && !slices.Contains(clients, path) {
				t.Errorf("%s imports %s", pkg, path)
			}
			if other == "" && !within(path, "proto") {
				t.Errorf("%s imports %s, which is no part of a role", pkg, path)
			}
		}
	}
}

func roleOf(pkg string) string {
	for _, role := range roles {
		if within(pkg, role) {
			return role
		}
	}
	return ""
}

func TestOnlyTransportImportsLibp2p(t *testing.T) {
	for pkg, imported := range imports(t) {
		if within(pkg, "proto/transport") {
			continue
		}
		for _, path := range imported {
			if strings.HasPrefix(path, "github.com/libp2p/") || strings.HasPrefix(path, "github.com/multiformats/") {
				t.Errorf("%s imports %s", pkg, path)
			}
		}
	}
}

// Policy decides from values alone: what it is given is all it may look at.
func TestPolicyIsPure(t *testing.T) {
	graph := imports(t)
	for _, pkg := range []string{"satellite/placement", "satellite/repair", "satellite/audit", "satellite/durability"} {
		imported, ok := graph[pkg]
		if !ok {
			t.Errorf("no package %s", pkg)
		}
		for _, path := range imported {
			impure := []string{"context", "net", "os", "io", "sync", "log/slog", "github.com/dgraph-io", "google.golang.org/grpc", module + "satellite/kv", module + "satellite/meta", module + "proto/transport"}
			for _, banned := range impure {
				if within(path, banned) && path != "net/netip" { // which only has values
					t.Errorf("%s imports %s", pkg, path)
				}
			}
		}
	}
}

func TestComposeFile(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root(t), "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct {
			Image       string
			Restart     string
			Profiles    []string
			Volumes     []string
			HealthCheck struct{ Test []string } `yaml:"healthcheck"`
		}
		Volumes map[string]any
	}
	if err := yaml.Unmarshal(data, &compose); err != nil {
		t.Fatal(err)
	}
	nodes := 0
	for name, service := range compose.Services {
		if len(service.Profiles) > 0 {
			continue // not part of the cluster
		}
		if strings.HasPrefix(name, "node") {
			nodes++
		}
		if service.Restart == "" || len(service.HealthCheck.Test) == 0 || service.Image == "" {
			t.Errorf("service %s lacks an image, a restart policy or a health check", name)
		}
		if len(service.Volumes) == 0 {
			t.Errorf("service %s keeps nothing", name)
		}
		for _, volume := range service.Volumes {
			named, _, _ := strings.Cut(volume, ":")
			if _, ok := compose.Volumes[named]; !ok {
				t.Errorf("service %s uses %s, which is not a named volume", name, named)
			}
		}
	}
	if _, ok := compose.Services["satellite"]; !ok || nodes != 10 {
		t.Errorf("found %d nodes; want a satellite and ten nodes", nodes)
	}
	if _, err := exec.LookPath("docker-compose"); err == nil {
		command := exec.Command("docker-compose", "-f", "docker-compose.yml", "config", "-q")
		command.Dir = root(t)
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("docker-compose config: %v\n%s", err, out)
		}
	}
}
