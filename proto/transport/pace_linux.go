package transport

import "golang.org/x/sys/unix"

// dontPace has a socket that both ends of are on this machine never wait for the
// clock. A machine whose congestion control is BBR would have it pace what it
// sends by how quickly that is taken, and takes a process that waits for a
// processor for a slow line: connections that could carry gigabytes a second were
// held to some megabytes. Reno is what every kernel has and lets anyone choose;
// see tcp(7). Where it cannot be had, the socket stays as it is.
func dontPace(fd int) {
	_ = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno")
}
