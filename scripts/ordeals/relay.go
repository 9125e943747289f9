package main

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/cairnstorage/cairn/deploy/procnet"
)

// A relay stands before a node and lets through only so many bytes a second in
// each direction, over all connections: a node on a thin line.
type relay struct {
	listener net.Listener
	target   string
	up, down pace
	tasks    sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]bool // nil: closed
	closed bool
}

// newRelay begins to listen for connections to target.
func newRelay(target string, bytesPerSecond int64) (*relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{listener: listener, target: target, open: make(map[net.Conn]bool)}
	r.up.rate, r.down.rate = bytesPerSecond, bytesPerSecond
	r.tasks.Go(r.accept)
	return r, nil
}

func (r *relay) port() int { return r.listener.Addr().(*net.TCPAddr).Port }

func (r *relay) accept() {
	for {
		near, err := r.listener.Accept()
		if err != nil {
			return
		}
		if !r.keep(near) {
			return
		}
		far, err := net.Dial("tcp", r.target)
		if err != nil || !r.keep(far) {
			r.drop(near)
			continue
		}
		r.tasks.Go(func() { r.pipe(far, near, &r.up) })
		r.tasks.Go(func() { r.pipe(near, far, &r.down) })
	}
}

// pipe passes on what comes from one side until either ends.
func (r *relay) pipe(to, from net.Conn, p *pace) {
	defer r.drop(to)
	defer r.drop(from)
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		p.wait(n)
		if _, failed := to.Write(buf[:n]); err != nil || failed != nil {
			return
		}
	}
}

// keep remembers a connection, to close it; false: the relay is closed.
func (r *relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		c.Close()
		return false
	}
	r.open[c] = true
	return true
}

func (r *relay) drop(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, c)
	c.Close()
}

// close ends all connections and waits until nothing of the relay runs.
func (r *relay) close() {
	r.listener.Close()
	r.mu.Lock()
	r.closed = true
	for c := range r.open {
		c.Close()
	}
	r.mu.Unlock()
	r.tasks.Wait()
}

// A pace says when the next bytes may go.
type pace struct {
	rate int64 // bytes a second

	mu   sync.Mutex
	next time.Time
}

// wait returns when n more bytes may go. What was not used for a while is lost.
func (p *pace) wait(n int) {
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(time.Duration(n) * time.Second / time.Duration(p.rate))
	until := p.next
	p.mu.Unlock()
	time.Sleep(time.Until(until))
}

// stall stops a process for most of the time until ctx is done: a node that is
// starved of its processor or its disk.
func stall(ctx context.Context, p *procnet.Process, stopped, going time.Duration) {
	defer p.Signal(syscall.SIGCONT)
	for ctx.Err() == nil {
		p.Signal(syscall.SIGSTOP)
		pause(ctx, stopped)
		p.Signal(syscall.SIGCONT)
		pause(ctx, going)
	}
}

// pause returns when d is over or ctx is done.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
