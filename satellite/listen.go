package satellite

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cairnstorage/cairn/proto/transport"
)

const (
	defaultPort = 7777
	addressFile = "address" // in Dir: where the satellite is reached
	portFile    = "port"    // in Dir: the port to take again
)

// listen goes on the network and notes the address in Dir.
func (s *Satellite) listen() (err error) {
	if s.host, err = s.newHost(); err != nil {
		return err
	}
	addrs := s.host.Addresses()
	if len(addrs) == 0 {
		return errors.New("there is no address that others could be told: check the multiaddrs to listen on")
	}
	s.address = bestAddress(addrs)
	if port := portOf(s.address); port != 0 && len(s.config.Announce) == 0 {
		if err := writeFile(filepath.Join(s.config.Dir, portFile), strconv.Itoa(port)+"\n"); err != nil {
			return err
		}
	}
	return writeFile(filepath.Join(s.config.Dir, addressFile), s.address+"\n")
}

// window is what a peer may send on a stream before it is read: calls are small,
// and peers are many.
const window = 512 << 10

// newHost listens where it should. Grants hold the address, so a port that was
// taken before is taken again, and only where any port will do is another one
// tried.
func (s *Satellite) newHost() (*transport.Host, error) {
	c := transport.Config{
		Key: s.key, Announce: s.config.Announce, QUIC: s.config.QUIC, Logger: s.log,
		Window: window,
		Serves: []string{transport.SatelliteProtocol, transport.NodesProtocol},
	}
	before := s.portBefore()
	listen := s.config.Listen
	if len(listen) == 0 {
		port := defaultPort
		if before != 0 {
			port = before
		}
		listen = []string{fmt.Sprintf("/ip4/0.0.0.0/tcp/%d", port)}
		if s.config.QUIC {
			listen = append(listen, fmt.Sprintf("/ip4/0.0.0.0/udp/%d/quic-v1", port))
		}
		c.Listen = listen
		host, err := transport.New(c)
		switch {
		case err == nil || !transport.InUse(err):
			return host, err
		case before != 0:
			return nil, fmt.Errorf("%w: grants and nodes know this satellite by port %d, so stop the process that has it, or choose with --listen", err, before)
		}
		c.Listen = withPort(listen, 0)
		return transport.New(c)
	}
	if c.Listen = listen; before != 0 && slices.ContainsFunc(listen, anyPort) {
		c.Listen = replaceAnyPort(listen, before)
		host, err := transport.New(c)
		if err == nil || !transport.InUse(err) {
			return host, err
		}
		s.log.Warn("the port of last time is taken; grants made before lead nowhere", "port", before)
		c.Listen = listen
	}
	return transport.New(c)
}

// portBefore is the port of last time, or 0.
func (s *Satellite) portBefore() int {
	text, err := os.ReadFile(filepath.Join(s.config.Dir, portFile))
	if err != nil {
		return 0
	}
	port, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 16)
	if err != nil {
		return 0
	}
	return int(port)
}

func withPort(listen []string, port int) []string {
	list := make([]string, len(listen))
	for i, a := range listen {
		parts := strings.Split(a, "/")
		if len(parts) > 4 {
			parts[4] = strconv.Itoa(port)
		}
		list[i] = strings.Join(parts, "/")
	}
	return list
}

func anyPort(addr string) bool {
	parts := strings.Split(addr, "/")
	return len(parts) > 4 && (parts[3] == "tcp" || parts[3] == "udp") && parts[4] == "0"
}

// replaceAnyPort puts port in the place of 0.
func replaceAnyPort(listen []string, port int) []string {
	list := slices.Clone(listen)
	for i := range list {
		if anyPort(list[i]) {
			list[i] = withPort(list[i:i+1], port)[0]
		}
	}
	return list
}

// portOf is the port in a multiaddr, or 0.
func portOf(addr string) int {
	parts := strings.Split(addr, "/")
	if len(parts) < 5 {
		return 0
	}
	port, err := strconv.ParseUint(parts[4], 10, 16)
	if err != nil {
		return 0
	}
	return int(port)
}

// bestAddress chooses the one to tell: TCP before QUIC, then what reaches
// furthest.
func bestAddress(addrs []string) string {
	rank := func(addr string) int {
		parts := strings.Split(addr, "/")
		r := reach(parts[1], parts[2])
		if parts[3] != "tcp" {
			r += 10
		}
		return r
	}
	return slices.MinFunc(addrs, func(a, b string) int { return rank(a) - rank(b) })
}

// reach is smaller the further away an address can be used from.
func reach(kind, host string) int {
	if strings.HasPrefix(kind, "dns") {
		return 0
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return 9
	case ip.IsLoopback():
		return 6
	case ip.IsLinkLocalUnicast():
		return 7
	case ip.IsPrivate():
		return 3
	case ip.Is4():
		return 1
	}
	return 2
}

// writeFile replaces a small file in one step, so that no reader ever sees
// half of it.
func writeFile(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
