package transport

import (
	"fmt"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cairnstorage/cairn/proto/ident"
)

// peerPrefix begins the libp2p id of every Ed25519 key: an identity multihash of
// 36 bytes, a protobuf with key type 1 and 32 bytes of key.
const peerPrefix = "\x00\x24\x08\x01\x12\x20"

// An Address is who a party is and where it may be reached.
type Address struct {
	ID    ident.ID
	Addrs []string // multiaddrs without /p2p, such as "/ip4/192.0.2.7/tcp/7700"
}

// ParseAddress reads a multiaddr that ends in /p2p/ID, or several of the same
// party with commas between. All else is ErrAddress.
func ParseAddress(text string) (Address, error) {
	var address Address
	for i, part := range strings.Split(text, ",") {
		id, addr, err := splitAddress(strings.TrimSpace(part))
		if err != nil {
			return Address{}, err
		}
		if i > 0 && id != address.ID {
			return Address{}, fmt.Errorf("%w: it names two parties, %s and %s", ErrAddress, address.ID, id)
		}
		address.ID = id
		address.Addrs = append(address.Addrs, addr)
	}
	return address, nil
}

func splitAddress(text string) (ident.ID, string, error) {
	const want = "want one like /dns4/satellite.example.org/tcp/7700/p2p/12D3Koo…"
	if text == "" {
		return ident.ID{}, "", fmt.Errorf("%w: it is empty; %s", ErrAddress, want)
	}
	whole, err := ma.NewMultiaddr(text)
	if err != nil {
		return ident.ID{}, "", fmt.Errorf("%w: %q: %w; %s", ErrAddress, text, err, want)
	}
	addr, who := peer.SplitAddr(whole)
	if who == "" {
		return ident.ID{}, "", fmt.Errorf("%w: %q does not end in /p2p/ID; %s", ErrAddress, text, want)
	}
	if addr == nil {
		return ident.ID{}, "", fmt.Errorf("%w: %q says who but not where; %s", ErrAddress, text, want)
	}
	id, ok := fromPeer(who)
	if !ok {
		return ident.ID{}, "", fmt.Errorf("%w: %s is not the id of an Ed25519 key (they begin with 12D3Koo)", ErrAddress, who)
	}
	return id, addr.String(), nil
}

// JoinAddress is the Address of id at addrs, multiaddrs with or without /p2p.
// Any that is none, or names another party, is ErrAddress.
func JoinAddress(id ident.ID, addrs []string) (Address, error) {
	joined := Address{ID: id}
	for _, text := range addrs {
		whole, err := ma.NewMultiaddr(text)
		if err != nil {
			return Address{}, fmt.Errorf("%w: %q: %w", ErrAddress, text, err)
		}
		addr, who := peer.SplitAddr(whole)
		if addr == nil || (who != "" && who != toPeer(id)) {
			return Address{}, fmt.Errorf("%w: %q is not one of %s", ErrAddress, text, id)
		}
		joined.Addrs = append(joined.Addrs, addr.String())
	}
	return joined, nil
}

// String is what ParseAddress reads; without Addrs it is /p2p/ID.
func (a Address) String() string {
	if len(a.Addrs) == 0 {
		return "/p2p/" + a.ID.String()
	}
	whole := make([]string, len(a.Addrs))
	for i, addr := range a.Addrs {
		whole[i] = addr + "/p2p/" + a.ID.String()
	}
	return strings.Join(whole, ",")
}

// multiaddrs parses where a is.
func (a Address) multiaddrs() ([]ma.Multiaddr, error) {
	if len(a.Addrs) == 0 {
		return nil, fmt.Errorf("%w: no address of peer %s is known", ErrUnreachable, a.ID.Short())
	}
	return parseAll(a.Addrs)
}

func parseAll(addrs []string) ([]ma.Multiaddr, error) {
	parsed := make([]ma.Multiaddr, 0, len(addrs))
	for _, text := range addrs {
		addr, err := ma.NewMultiaddr(text)
		if err != nil {
			return nil, fmt.Errorf("%w: %q: %w", ErrAddress, text, err)
		}
		parsed = append(parsed, addr)
	}
	return parsed, nil
}

func toPeer(id ident.ID) peer.ID {
	return peer.ID(peerPrefix + string(id[:]))
}

// fromPeer reports false for the id of any key but an Ed25519 one.
func fromPeer(p peer.ID) (ident.ID, bool) {
	raw, ok := strings.CutPrefix(string(p), peerPrefix)
	if !ok {
		return ident.ID{}, false
	}
	id, err := ident.IDFromBytes([]byte(raw))
	return id, err == nil
}
