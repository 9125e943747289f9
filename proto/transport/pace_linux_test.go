package transport

import (
	"net"
	"os"
	"strconv"
	"testing"

	ma "github.com/multiformats/go-multiaddr"
	"golang.org/x/sys/unix"
)

func congestionControl(t *testing.T, fd int) string {
	t.Helper()
	name, err := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// TestForLoopback sees which sockets are changed.
func TestForLoopback(t *testing.T) {
	for address, changed := range map[string]bool{
		"127.0.0.1:7700": true, "127.1.2.3:0": true, "[::1]:7700": true, "[::ffff:127.0.0.1]:7700": true,
		"0.0.0.0:7700": false, "[::]:0": false, "192.0.2.1:7700": false, "[2001:db8::1]:7700": false, "elsewhere": false,
	} {
		listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4zero})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := listener.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var before, after string
		raw.Control(func(fd uintptr) {
			// Were it Reno, nothing could be seen.
			for _, other := range []string{"cubic", "bbr"} {
				_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, other)
			}
			before = congestionControl(t, int(fd))
		})
		if err := forLoopback("tcp", address, raw); err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) { after = congestionControl(t, int(fd)) })
		want := before
		if changed {
			want = "reno"
		}
		if after != want {
			t.Errorf("a socket for %s has %s instead of %s", address, after, want)
		}
		listener.Close()
	}
}

// TestPace sees that both ends of a connection within the machine are not paced.
func TestPace(t *testing.T) {
	server, client := newHost(t, listening), newHost(t, nil)
	to := addressOf(t, server)
	if err := client.Connect(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	at, err := parseAll(to.Addrs)
	if err != nil {
		t.Fatal(err)
	}
	text, err := at[0].ValueForProtocol(ma.P_TCP)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, entry := range fds {
		fd, _ := strconv.Atoi(entry.Name())
		local, _ := unix.Getsockname(fd)
		remote, err := unix.Getpeername(fd)
		if err != nil || portOf(local) != port && portOf(remote) != port {
			continue
		}
		seen++
		if name := congestionControl(t, fd); name != "reno" {
			t.Errorf("one end of the connection has %s", name)
		}
	}
	if seen != 2 {
		t.Errorf("found %d ends of the connection", seen)
	}
}

func portOf(at unix.Sockaddr) int {
	if at, ok := at.(*unix.SockaddrInet4); ok {
		return at.Port
	}
	return -1
}
