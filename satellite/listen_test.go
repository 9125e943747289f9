package satellite

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestBestAddress(t *testing.T) {
	const id = "/p2p/12D3KooWKpvz4Xv1qf24JvVKkYKsi6HDaqEPws7UxLbHeZCPek6o"
	order := []string{
		"/dns4/example.org/tcp/7777" + id,
		"/ip4/192.0.2.1/tcp/7777" + id,
		"/ip6/2001:db8::1/tcp/7777" + id,
		"/ip4/10.0.0.1/tcp/7777" + id,
		"/ip4/127.0.0.1/tcp/7777" + id,
		"/ip6/fe80::1/tcp/7777" + id,
		"/dns4/example.org/udp/7777/quic-v1" + id,
		"/ip4/127.0.0.1/udp/7777/quic-v1" + id,
	}
	for i := range order {
		rest := slices.Clone(order[i:])
		slices.Reverse(rest)
		if got := bestAddress(rest); got != order[i] {
			t.Errorf("of %v the best is %s", rest, got)
		}
	}
}

func TestPorts(t *testing.T) {
	for addr, want := range map[string]bool{
		"/ip4/0.0.0.0/tcp/0": true, "/ip4/0.0.0.0/udp/0/quic-v1": true, "/ip4/0.0.0.0/tcp/7777": false, "nonsense": false,
	} {
		if anyPort(addr) != want {
			t.Errorf("anyPort(%s) is %v", addr, !want)
		}
	}
	got := replaceAnyPort([]string{"/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/tcp/5", "/ip6/::/udp/0/quic-v1"}, 9)
	if want := []string{"/ip4/0.0.0.0/tcp/9", "/ip4/0.0.0.0/tcp/5", "/ip6/::/udp/9/quic-v1"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for addr, want := range map[string]int{"/ip4/0.0.0.0/tcp/7777/p2p/x": 7777, "/ip4/0.0.0.0/tcp/70000": 0, "x": 0} {
		if got := portOf(addr); got != want {
			t.Errorf("portOf(%s) is %d", addr, got)
		}
	}
}

// TestPortIsTakenAgain restarts with and without a choice of port, and finds
// the port of last time taken.
func TestPortIsTakenAgain(t *testing.T) {
	dir := t.TempDir()
	c := testConfig(dir)
	c.Listen = nil
	s := start(t, c)
	port := portOf(s.Address())
	noted, err := os.ReadFile(filepath.Join(dir, "port"))
	must(t, err)
	if strings.TrimSpace(string(noted)) != strconv.Itoa(port) || port == 0 {
		t.Fatalf("port %d, noted %q", port, noted)
	}
	s.stop()
	s = start(t, c)
	if portOf(s.Address()) != port {
		t.Errorf("port %d after a restart, %d before", portOf(s.Address()), port)
	}
	s.stop()

	other, err := net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port))
	must(t, err)
	defer other.Close()
	if s, err := New(t.Context(), c); err == nil || !strings.Contains(err.Error(), "--listen") {
		t.Fatalf("port taken: %v %v", s, err)
	}
	c.Listen = []string{"/ip4/127.0.0.1/tcp/0"}
	s = start(t, c)
	if portOf(s.Address()) == port {
		t.Error("the port taken was taken")
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "address")
	for _, text := range []string{"one\n", "two\n"} {
		must(t, writeFile(path, text))
		got, err := os.ReadFile(path)
		must(t, err)
		if string(got) != text {
			t.Errorf("got %q, want %q", got, text)
		}
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	if writeFile(filepath.Join(dir, "none", "x"), "") == nil {
		t.Error("wrote into a directory that is not there")
	}
}
