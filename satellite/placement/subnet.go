package placement

import (
	"net/netip"
	"slices"
	"strings"
)

// Subnets returns the networks that multiaddrs lie in, sorted, each once: the
// /24 of an IPv4 address, the /48 of an IPv6 one, a name as it is. Nodes that
// share one are taken to fail together.
func Subnets(addrs []string) []string {
	var nets []string
	for _, a := range addrs {
		if s := Subnet(a); s != "" {
			nets = append(nets, s)
		}
	}
	slices.Sort(nets)
	return slices.Compact(nets)
}

// Subnet is Subnets of one address; "" when it has none.
func Subnet(addr string) string {
	parts := strings.Split(addr, "/")
	if len(parts) < 3 || parts[0] != "" {
		return ""
	}
	switch parts[1] {
	case "ip4":
		return network(parts[2], 24)
	case "ip6":
		return network(parts[2], 48)
	case "dns", "dns4", "dns6", "dnsaddr":
		return strings.ToLower(strings.TrimSuffix(parts[2], "."))
	}
	return ""
}

func network(text string, bits int) string {
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return ""
	}
	if ip = ip.Unmap(); ip.Is4() {
		bits = 24
	}
	prefix, err := ip.WithZone("").Prefix(bits)
	if err != nil {
		return ""
	}
	return prefix.String()
}
