package placement

import (
	"net/netip"
	"slices"
	"strings"
)

// Subnets returns the networks a node lies in, sorted, each once: the /24 of an
// IPv4 address, the /48 of an IPv6 one. Nodes that share one are taken to fail
// together. remote is where the node was seen to come from, addrs the multiaddrs
// it claims: claims add networks but never take away the one it was seen in.
// A host name is none: names cost nothing. Addresses of private networks mean
// something only among nodes that come over one, such as clusters on one site.
func Subnets(remote netip.Addr, addrs []string) []string {
	remote = remote.Unmap()
	seen := isPublic(remote)
	var nets []string
	add := func(ip netip.Addr) {
		if ip.IsValid() && (isPublic(ip) || !seen) {
			nets = append(nets, network(ip))
		}
	}
	if seen {
		add(remote)
	}
	for _, a := range addrs {
		add(claimed(a))
	}
	slices.Sort(nets)
	return slices.Compact(nets)
}

func isPublic(ip netip.Addr) bool {
	return ip.IsGlobalUnicast() && !ip.IsPrivate()
}

// claimed is the IP address of a multiaddr; the zero Addr when it has none.
func claimed(addr string) netip.Addr {
	parts := strings.Split(addr, "/")
	if len(parts) < 3 || parts[0] != "" || parts[1] != "ip4" && parts[1] != "ip6" {
		return netip.Addr{}
	}
	ip, _ := netip.ParseAddr(parts[2])
	return ip.Unmap()
}

func network(ip netip.Addr) string {
	bits := 48
	if ip.Is4() {
		bits = 24
	}
	prefix, _ := ip.WithZone("").Prefix(bits)
	return prefix.String()
}
