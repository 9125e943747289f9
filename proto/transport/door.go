package transport

import (
	"net/netip"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// remoteIP is the IP address in a multiaddr; the zero Addr if there is none.
func remoteIP(addr ma.Multiaddr) netip.Addr {
	ip, err := manet.ToIP(addr)
	if err != nil {
		return netip.Addr{}
	}
	at, _ := netip.AddrFromSlice(ip)
	return at.Unmap()
}

// placeOf is what counts as one address: an IPv4 address or an IPv6 /56. It is
// the zero Prefix, which is not counted, for loopback: a cluster on one machine.
func placeOf(addr ma.Multiaddr) netip.Prefix {
	ip := remoteIP(addr)
	if !ip.IsValid() || ip.IsLoopback() {
		return netip.Prefix{}
	}
	bits := 32
	if ip.Is6() {
		bits = 56
	}
	place, _ := ip.Prefix(bits)
	return place
}

// doorkeeper is the resource manager that also bounds how many connections of
// one address wait to be authenticated: whoever opens connections and says
// nothing must not take the places of all others.
type doorkeeper struct {
	network.ResourceManager

	mu      sync.Mutex
	waiting map[netip.Prefix]int
}

func (d *doorkeeper) OpenConnection(dir network.Direction, usefd bool, endpoint ma.Multiaddr) (network.ConnManagementScope, error) {
	place := placeOf(endpoint)
	if dir != network.DirInbound || !place.IsValid() {
		return d.ResourceManager.OpenConnection(dir, usefd, endpoint)
	}
	d.mu.Lock()
	room := d.waiting[place] < strangers
	if room {
		d.waiting[place]++
	}
	d.mu.Unlock()
	if !room {
		return nil, network.ErrResourceLimitExceeded
	}
	leave := sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		release(d.waiting, place)
	})
	scope, err := d.ResourceManager.OpenConnection(dir, usefd, endpoint)
	if err != nil {
		leave()
		return nil, err
	}
	return &door{ConnManagementScope: scope, leave: leave}, nil
}

// door is one connection that waits, until its peer is known or it is closed.
type door struct {
	network.ConnManagementScope
	leave func()
}

func (d *door) SetPeer(p peer.ID) error {
	d.leave()
	return d.ConnManagementScope.SetPeer(p)
}

func (d *door) Done() {
	d.leave()
	d.ConnManagementScope.Done()
}
