// Package relay stands before a daemon on this machine and makes the line to it
// thinner and longer, so that what a network does on real lines can be measured
// without any. What TCP itself does on a long line, such as starting slowly, it
// does not show: both halves of a connection are short.
package relay

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Line is what a relay makes of the line to its target.
type Line struct {
	Rate  int64         // bytes a second in each direction, over all connections; 0: no limit
	Delay time.Duration // that everything takes longer each way
}

// A Relay passes on what comes at the rate of its line.
type Relay struct {
	listener net.Listener
	target   string
	reserved *reservation // of the port of the target; nil: none was needed
	up, down way
	tasks    sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
}

// way is one direction of the line.
type way struct {
	pace  pace
	delay time.Duration
	moved atomic.Int64
}

// New begins to listen for connections to target, a host:port.
func New(target string, line Line) (*Relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Relay{listener: listener, target: target, open: make(map[net.Conn]bool)}
	for _, w := range []*way{&r.up, &r.down} {
		w.pace.rate, w.delay = line.Rate, line.Delay
	}
	r.tasks.Go(r.accept)
	return r, nil
}

// Before makes a relay before a daemon that is yet to be started, with the
// arguments that have it listen behind the relay and tell others to come
// through it.
func Before(line Line) (*Relay, []string, error) {
	reserved, err := reserve()
	if err != nil {
		return nil, nil, fmt.Errorf("reserve a port: %w", err)
	}
	r, err := New(reserved.address.String(), line)
	if err != nil {
		return nil, nil, errors.Join(err, reserved.Close())
	}
	r.reserved = reserved
	return r, []string{"--listen", multiaddr(reserved.address), "--announce", multiaddr(r.listener.Addr())}, nil
}

func multiaddr(a net.Addr) string {
	return fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", a.(*net.TCPAddr).Port)
}

// reservation is a port that nobody is given who asks for any, while somebody
// who asks for this one can listen at it.
type reservation struct {
	socket  int
	address *net.TCPAddr
}

// reserve binds a socket that never listens. Linux lets another that listens be
// bound beside it, as both allow that, but chooses other ports by itself.
func reserve() (*reservation, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	r := &reservation{socket: socket}
	if err := r.bind(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *reservation) bind() error {
	if err := unix.SetsockoptInt(r.socket, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := unix.Bind(r.socket, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	name, err := unix.Getsockname(r.socket)
	if err != nil {
		return err
	}
	at := name.(*unix.SockaddrInet4)
	r.address = &net.TCPAddr{IP: at.Addr[:], Port: at.Port}
	return nil
}

func (r *reservation) Close() error { return unix.Close(r.socket) }

// SetRate changes the rate of the line, in bytes a second; 0: no limit.
func (r *Relay) SetRate(rate int64) {
	r.up.pace.set(rate)
	r.down.pace.set(rate)
}

// Moved is how many bytes were passed on to the target and from it.
func (r *Relay) Moved() (to, from int64) { return r.up.moved.Load(), r.down.moved.Load() }

func (r *Relay) accept() {
	for {
		near, err := r.listener.Accept()
		if err != nil {
			return
		}
		if !r.keep(near) {
			return
		}
		r.tasks.Go(func() { r.connect(near) })
	}
}

// connect goes on to the target, as late as the connection would have been made.
func (r *Relay) connect(near net.Conn) {
	time.Sleep(2 * r.up.delay)
	far, err := net.Dial("tcp", r.target)
	if err != nil || !r.keep(far) {
		r.drop(near)
		return
	}
	r.tasks.Go(func() { r.pipe(far, near, &r.up) })
	r.tasks.Go(func() { r.pipe(near, far, &r.down) })
}

// parcel is bytes on their way.
type parcel struct {
	data []byte
	due  time.Time
}

const (
	// parcelSize is what is read at most at a time: less costs processors more,
	// and more makes thin lines longer.
	parcelSize = 32 << 10
	// onTheWay bounds the parcels of one direction of a connection that are on
	// their way: 4 MiB, which is more than 100 Mbit/s have there in 300 ms.
	onTheWay = 128
	// late is for how long a line makes up for what it did not carry: whoever is
	// to pass on the next parcel may be woken late, which is no fault of the line.
	late = 20 * time.Millisecond
)

// pipe passes on what comes from one side until either ends.
func (r *Relay) pipe(to, from net.Conn, w *way) {
	defer r.drop(from)
	parcels, empty := make(chan parcel, onTheWay), make(chan []byte, onTheWay)
	r.tasks.Go(func() {
		defer r.drop(to)
		deliver(to, from, w, parcels, empty)
	})
	defer close(parcels)
	for {
		var buffer []byte
		select {
		case buffer = <-empty:
		default:
			buffer = make([]byte, parcelSize)
		}
		n, err := from.Read(buffer)
		w.pace.wait(n)
		parcels <- parcel{data: buffer[:n], due: time.Now().Add(w.delay)}
		if err != nil {
			return
		}
	}
}

// deliver writes each parcel when it is due. Once the far side has gone it takes
// them only to drop them, and has no more read.
func deliver(to, from net.Conn, w *way, parcels <-chan parcel, empty chan<- []byte) {
	for p := range parcels {
		time.Sleep(time.Until(p.due))
		n, err := to.Write(p.data)
		w.moved.Add(int64(n))
		if err != nil {
			from.Close()
		}
		select {
		case empty <- p.data[:parcelSize]:
		default:
		}
	}
}

// keep remembers a connection, to close it; false: the relay is closed.
func (r *Relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		c.Close()
		return false
	}
	r.open[c] = true
	return true
}

func (r *Relay) drop(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, c)
	c.Close()
}

// Close ends all connections and waits until nothing of the relay runs.
func (r *Relay) Close() {
	r.listener.Close()
	r.mu.Lock()
	r.closed = true
	for c := range r.open {
		c.Close()
	}
	r.mu.Unlock()
	r.tasks.Wait()
	if r.reserved != nil {
		r.reserved.Close()
	}
}

// A pace says when the next bytes may go.
type pace struct {
	mu   sync.Mutex
	rate int64 // bytes a second; 0: at once
	next time.Time
}

func (p *pace) set(rate int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate = rate
}

// wait returns when n more bytes may go.
func (p *pace) wait(n int) { time.Sleep(time.Until(p.after(time.Now(), n))) }

// after is when n more bytes have gone. What was not used for longer than late is
// lost.
func (p *pace) after(now time.Time, n int) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rate == 0 {
		return now
	}
	if earliest := now.Add(-late); p.next.Before(earliest) {
		p.next = earliest
	}
	p.next = p.next.Add(time.Duration(n) * time.Second / time.Duration(p.rate))
	return p.next
}
