package relay

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
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

func TestPaceAddsUp(t *testing.T) {
	p := pace{rate: 1000}
	p.next = time.Now().Add(-time.Hour) // what was not used is lost
	begun := time.Now()
	for range 5 {
		p.wait(2)
	}
	if p.next.Before(begun.Add(10 * time.Millisecond)) {
		t.Error("the pace lets more through than its rate")
	}
}
