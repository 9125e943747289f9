package relay

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// echo sends back what it gets.
func echo(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go io.Copy(c, c)
		}
	}()
	return listener
}

// A relay passes everything on, both ways, and ends what it carries with itself.
func TestRelay(t *testing.T) {
	const delay = 5 * time.Millisecond
	for name, line := range map[string]Line{"thin": {Rate: 64 << 20}, "long": {Delay: delay}, "both": {64 << 20, delay}} {
		t.Run(name, func(t *testing.T) {
			r, err := New(echo(t).Addr().String(), line)
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			c, err := net.Dial("tcp", r.listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			sent, got := make([]byte, 300_000), make([]byte, 300_000)
			rand.Read(sent)
			go c.Write(sent)
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("what came back differs: %v", err)
			}
			if took := time.Since(begun); took < 4*line.Delay { // to connect, and to ask
				t.Errorf("two round trips took %v", took)
			}
			r.Close()
			if _, err := c.Read(got); err == nil {
				t.Error("the connection outlives the relay")
			}
			if to, from := r.Moved(); to != int64(len(sent)) || from != int64(len(got)) {
				t.Errorf("moved %d and %d of %d", to, from, len(sent))
			}
		})
	}
}

// What was sent before one side ends arrives, however long the line.
func TestRelayDeliversWhatIsOnTheWay(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	r, err := New(listener.Addr().String(), Line{Delay: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	near, err := net.Dial("tcp", r.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	sent := make([]byte, 100_000)
	rand.Read(sent)
	if _, err := near.Write(sent); err != nil {
		t.Fatal(err)
	}
	near.Close()
	far, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if got, err := io.ReadAll(far); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes arrive of %d: %v", len(got), len(sent), err)
	}
}

// Ports behind relays are nobody else's, and daemons can listen at them.
func TestReservedPorts(t *testing.T) {
	reserved, err := reserve()
	if err != nil {
		t.Fatal(err)
	}
	defer reserved.Close()
	for range 200 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		if listener.Addr().(*net.TCPAddr).Port == reserved.address.Port {
			t.Fatal("a reserved port was given to somebody who asked for any")
		}
	}
	for range 2 { // also when a daemon is started again
		listener, err := net.Listen("tcp", reserved.address.String())
		if err != nil {
			t.Fatalf("nobody can listen at the port that was reserved: %v", err)
		}
		listener.Close()
	}
}

func TestPace(t *testing.T) {
	const ms = time.Millisecond
	start := time.Now()
	p := pace{rate: 1000}
	for _, step := range []struct{ now, want time.Duration }{
		{0, 5*ms - late}, // what was never used is lost, but for a little
		{0, 10*ms - late},
		{0, 15*ms - late},
		{10 * ms, 20*ms - late}, // who comes a little late finds that the line went on
		{90 * ms, 90*ms + 5*ms - late},
	} {
		if got := p.after(start.Add(step.now), 5).Sub(start); got != step.want {
			t.Errorf("at %v five bytes have gone at %v, not %v", step.now, got, step.want)
		}
	}
	p.set(0)
	if got := p.after(start, 1<<30); !got.Equal(start) {
		t.Errorf("without a limit they go after %v", got.Sub(start))
	}
}

// BenchmarkLines moves bytes over as many lines of 100 Mbit/s as a network of 20
// nodes has, and says what a GiB costs, at the ends and between.
func BenchmarkLines(b *testing.B) {
	const lines, each = 20, 16 << 20
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go drain(c, each)
		}
	}()
	b.SetBytes(lines * each)
	before := ownCPU()
	for b.Loop() {
		var wait sync.WaitGroup
		for range lines {
			wait.Go(func() {
				if err := sendOver(listener.Addr().String(), each); err != nil {
					b.Error(err)
				}
			})
		}
		wait.Wait()
	}
	b.ReportMetric((ownCPU()-before).Seconds()/float64(b.N)/(lines*each)*(1<<30), "cpu-s/GiB")
}

// sendOver sends so much over a line of its own and waits until it is there.
func sendOver(target string, size int) error {
	r, err := New(target, Line{Rate: 12_500_000, Delay: 25 * time.Millisecond})
	if err != nil {
		return err
	}
	defer r.Close()
	c, err := net.Dial("tcp", r.listener.Addr().String())
	if err != nil {
		return err
	}
	defer c.Close()
	buffer := make([]byte, 256<<10)
	for ; size > 0; size -= len(buffer) {
		if _, err := c.Write(buffer); err != nil {
			return err
		}
	}
	_, err = io.ReadFull(c, buffer[:1])
	return err
}

// drain takes so much and says when it is there.
func drain(c net.Conn, size int) {
	defer c.Close()
	buffer := make([]byte, 256<<10)
	for size > 0 {
		n, err := c.Read(buffer)
		if err != nil {
			return
		}
		size -= n
	}
	c.Write(buffer[:1])
}

func ownCPU() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
