package transport

import (
	"errors"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
)

func TestAddress(t *testing.T) {
	id := newKey(t).ID()
	good := "/ip4/192.0.2.7/tcp/7700/p2p/" + id.String()
	rsa := "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
	a, err := ParseAddress(good)
	if err != nil || a.ID != id || a.String() != good {
		t.Fatalf("%v, %v", a, err)
	}
	two := good + ",/dns4/node.example.org/tcp/7700/p2p/" + id.String()
	if a, err = ParseAddress(two); err != nil || len(a.Addrs) != 2 || a.String() != two {
		t.Fatalf("%v, %v", a, err)
	}
	if b, err := JoinAddress(id, a.Addrs); err != nil || b.String() != two {
		t.Errorf("%v, %v", b, err)
	}
	if b, err := JoinAddress(id, strings.Split(two, ",")); err != nil || b.String() != two {
		t.Errorf("%v, %v", b, err)
	}
	bad := map[string]string{
		"":                                "empty",
		"node.example.org:7700":           "want one like",
		"/ip4/192.0.2.7/tcp/7700":         "does not end in /p2p/ID",
		"/p2p/" + id.String():             "not where",
		"/ip4/192.0.2.7/tcp/1/p2p/" + rsa: "Ed25519",
		good + ",/ip4/1.2.3.4/tcp/1/p2p/" + newKey(t).ID().String(): "two parties",
		good + ",": "empty",
	}
	for text, want := range bad {
		_, err := ParseAddress(text)
		if !errors.Is(err, ErrAddress) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, addr := range []string{"x", "/p2p/" + id.String(), "/ip4/1.2.3.4/tcp/1/p2p/" + rsa} {
		if _, err := JoinAddress(id, []string{addr}); !errors.Is(err, ErrAddress) {
			t.Errorf("%q: %v", addr, err)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	f.Add("/ip4/192.0.2.7/tcp/7700/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA")
	f.Add("/dns4/a/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N,")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAddress(text)
		if err != nil {
			return
		}
		again, err := ParseAddress(a.String())
		if err != nil || again.String() != a.String() {
			t.Errorf("%q became %q: %v", text, a, err)
		}
	})
}

func TestPeerIDs(t *testing.T) {
	id := newKey(t).ID()
	p := toPeer(id)
	if err := p.Validate(); err != nil || p.String() != id.String() {
		t.Errorf("%s is %s: %v", id, p, err)
	}
	if back, ok := fromPeer(p); !ok || back != id {
		t.Errorf("%s came back as %s", id, back)
	}
	for _, other := range []peer.ID{"", p[:37], p + "x", "\x12\x20" + peer.ID(id[:])} {
		if _, ok := fromPeer(other); ok {
			t.Errorf("%q was taken", other)
		}
	}
}
