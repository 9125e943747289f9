package transport

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"
)

// Connections of one address that do not say who they are leave room for others.
func TestStrangers(t *testing.T) {
	limits, err := newResourceManager(Config{Key: newKey(t)}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	defer limits.Close()
	arrive := func(from string) (network.ConnManagementScope, error) {
		return limits.OpenConnection(network.DirInbound, true, ma.StringCast(from))
	}
	const crowd, other = "/ip4/203.0.113.1/tcp/9", "/ip4/203.0.113.2/tcp/9"
	var scopes []network.ConnManagementScope
	for i := range strangers {
		scope, err := arrive(crowd)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		scopes = append(scopes, scope)
	}
	if _, err := arrive(crowd); !errors.Is(err, network.ErrResourceLimitExceeded) {
		t.Errorf("one more: %v", err)
	}
	if _, err := arrive(other); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
	// Room comes back when one is authenticated, and once only, and when one ends.
	if err := scopes[0].SetPeer(toPeer(newKey(t).ID())); err != nil {
		t.Fatal(err)
	}
	scopes[0].Done()
	scopes[1].Done()
	for i, want := range []bool{true, true, false} {
		if _, err := arrive(crowd); (err == nil) != want {
			t.Errorf("after two left, %d: %v", i, err)
		}
	}
}

// A crowd on this machine, too, leaves room.
func TestSilentConnections(t *testing.T) {
	server := newHost(t, listening)
	server.Handle(echo, serveEcho)
	port := strings.Split(server.Addresses()[0], "/")[4]
	for range 520 {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if err := roundTrip(open(t, newHost(t, nil), addressOf(t, server), echo), []byte("hello")); err != nil {
		t.Error(err)
	}
}

// Many keys at one address do not take all streams.
func TestStreamsPerAddress(t *testing.T) {
	h := newHost(t, func(c *Config) { c.MaxStreams = 8 })
	here, there := netip.MustParsePrefix("203.0.113.1/32"), netip.MustParsePrefix("203.0.113.2/32")
	first, second := newKey(t).ID(), newKey(t).ID()
	for i, want := range []bool{true, true, false} {
		if got := h.enter(newKey(t).ID(), here); got != want {
			t.Errorf("stream %d: %v", i, got)
		}
	}
	if !h.enter(first, there) || !h.enter(second, netip.Prefix{}) {
		t.Error("no room for others")
	}
	h.leave(first, there)
	h.leave(second, netip.Prefix{})
	for range 2 {
		h.serves.Done()
	}
	if h.from[there] != 0 || h.from[here] != 2 || h.total != 2 {
		t.Errorf("%d streams of %v", h.total, h.from)
	}
}

func TestPlaceOf(t *testing.T) {
	for addr, want := range map[string]string{
		"/ip4/203.0.113.7/tcp/1":         "203.0.113.7/32",
		"/ip4/203.0.113.7/udp/1/quic-v1": "203.0.113.7/32",
		"/ip6/2001:db8:1:2ff::1/tcp/1":   "2001:db8:1:200::/56",
		"/ip6/::ffff:203.0.113.7/tcp/1":  "203.0.113.7/32",
		"/ip4/127.9.9.9/tcp/1":           "invalid Prefix",
		"/ip6/::1/tcp/1":                 "invalid Prefix",
		"/dns4/example.org/tcp/1":        "invalid Prefix",
	} {
		if got := placeOf(ma.StringCast(addr)).String(); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}
