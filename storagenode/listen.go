package storagenode

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/cairnstorage/cairn/proto/transport"
)

func trimSpace(raw []byte) []byte { return bytes.TrimSpace(raw) }

// listenAddresses are the configured addresses, each port 0 replaced by one
// that is remembered, so that a node keeps its address over restarts.
func (n *Node) listenAddresses() ([]string, error) {
	var addrs []string
	for _, asked := range n.config.Listen {
		kind := portKind(asked)
		if kind == "" {
			addrs = append(addrs, asked)
			continue
		}
		chosen := n.state.port(asked)
		if chosen == "" || !isFree(kind, chosen) {
			port, err := freePort(kind, asked)
			if err != nil {
				return nil, fmt.Errorf("find a port for %s: %w", asked, err)
			}
			if chosen != "" {
				n.log.Warn("the port used before is taken; the node gets another", "before", chosen)
			}
			chosen = strings.Replace(asked, "/"+kind+"/0", "/"+kind+"/"+strconv.Itoa(port), 1)
			if err := n.state.setPort(asked, chosen); err != nil {
				return nil, err
			}
		}
		addrs = append(addrs, chosen)
	}
	return addrs, nil
}

// listenTries is how often ports are chosen. Between two nodes that start at once
// it may take a few: what was free is taken a moment later.
const listenTries = 20

// listenAnew chooses addresses and listens at them, and again as long as another
// process takes one of the ports between the two.
func listenAnew(choose func() ([]string, error), listen func([]string) error) error {
	var before []string
	for try := 1; ; try++ {
		addrs, err := choose()
		if err != nil {
			return err
		}
		err = listen(addrs)
		if err == nil || try == listenTries || !transport.InUse(err) || slices.Equal(addrs, before) {
			return err
		}
		before = addrs
	}
}

// portKind is "tcp" or "udp" for a multiaddr with port 0 of that kind.
func portKind(addr string) string {
	for _, kind := range []string{"tcp", "udp"} {
		if strings.HasSuffix(addr, "/"+kind+"/0") || strings.Contains(addr, "/"+kind+"/0/") {
			return kind
		}
	}
	return ""
}

// hostPort is the multiaddr's IP address and port as package net writes them.
func hostPort(kind, addr string) (string, error) {
	parts := strings.Split(strings.Trim(addr, "/"), "/")
	if len(parts) < 4 || parts[0] != "ip4" && parts[0] != "ip6" || parts[2] != kind {
		return "", fmt.Errorf("%q does not begin as /ip4/ADDRESS/%s/PORT does", addr, kind)
	}
	return net.JoinHostPort(parts[1], parts[3]), nil
}

// tryPort listens for a moment and says on which port.
func tryPort(kind, addr string) (int, error) {
	at, err := hostPort(kind, addr)
	if err != nil {
		return 0, err
	}
	if kind == "udp" {
		conn, err := net.ListenPacket("udp", at)
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		return conn.LocalAddr().(*net.UDPAddr).Port, nil
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func freePort(kind, addr string) (int, error) { return tryPort(kind, addr) }

func isFree(kind, addr string) bool {
	_, err := tryPort(kind, addr)
	return err == nil
}
