package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/internal/golden"
)

// hidden is a connection that is nothing but that.
type hidden struct{ net.Conn }

// aheadLinks are connections that can be written to without waiting, and not.
var aheadLinks = map[string]func(testing.TB) (a, b *Conn){
	"tcp": func(t testing.TB) (a, b *Conn) { return pair(t, 5) },
	"hidden": func(t testing.TB) (a, b *Conn) {
		x, y := tcpPipe(t)
		return wrap(t, hidden{x}, 0, 5), wrap(t, y, 1, 5)
	},
	"pipe": func(t testing.TB) (a, b *Conn) {
		x, y := net.Pipe()
		t.Cleanup(func() { x.Close(); y.Close() })
		return wrap(t, x, 0, 5), wrap(t, y, 1, 5)
	},
}

// writeAhead writes a message and what is left of it. Header and body are
// overwritten as soon as they are not needed.
func writeAhead(c *Conn, header, body []byte) error {
	header, body = bytes.Clone(header), bytes.Clone(body)
	rest, err := c.WriteAhead(header, body)
	clear(header)
	clear(body)
	if rest == nil || err != nil {
		return err
	}
	return rest()
}

// TestAheadSizes writes headers and bodies of all interesting sizes, with usual
// writes before and after.
func TestAheadSizes(t *testing.T) {
	headers := []int{0, 1, leadPlain, largePlain - 1, MaxHeader}
	bodies := []int{0, 1, largePlain - leadPlain, largePlain - leadPlain + 1, largePlain - 1, largePlain, largePlain + 1, 64<<10 - 40, 64 << 10, MaxPlain - 1, MaxPlain}
	for name, link := range aheadLinks {
		t.Run(name, func(t *testing.T) {
			a, b := link(t)
			var want bytes.Buffer
			var messages [][2][]byte
			for _, h := range headers {
				for _, size := range bodies {
					message := [2][]byte{golden.Bytes(fmt.Sprint("header", size), h), golden.Bytes(fmt.Sprint("body", h), size)}
					messages = append(messages, message)
					want.WriteString("before")
					want.Write(message[0])
					want.Write(message[1])
				}
			}
			done := make(chan error, 1)
			go func() {
				got, err := readIn(b, 100_000)
				if err == nil && !bytes.Equal(got, want.Bytes()) {
					err = fmt.Errorf("%d bytes of %d, or others", len(got), want.Len())
				}
				done <- err
			}()
			for _, m := range messages {
				if _, err := a.Write([]byte("before")); err != nil {
					t.Fatal(err)
				}
				if err := writeAhead(a, m[0], m[1]); err != nil {
					t.Fatalf("%d and %d bytes: %v", len(m[0]), len(m[1]), err)
				}
			}
			a.Close()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAheadRecords has a large body be a record of its own, and little be one.
func TestAheadRecords(t *testing.T) {
	for _, test := range []struct{ header, body, first int }{
		{leadPlain, largePlain - leadPlain, largePlain},
		{leadPlain, largePlain - leadPlain + 1, leadPlain},
		{MaxHeader, MaxPlain, MaxHeader},
		{0, MaxPlain, MaxPlain},
		{MaxHeader, 0, MaxHeader},
	} {
		a, b := pair(t, RecordsPerSecret)
		go writeAhead(a, make([]byte, test.header), make([]byte, test.body))
		if n, err := b.Read(make([]byte, MaxPlain)); n != test.first || err != nil {
			t.Errorf("%d and %d bytes: the first record has %d: %v", test.header, test.body, n, err)
		}
	}
}

// TestAheadRest has the peer read nothing until something is left, and others
// wait for that to be sent.
func TestAheadRest(t *testing.T) {
	for name, link := range aheadLinks {
		t.Run(name, func(t *testing.T) {
			a, b := link(t)
			header, body := golden.Bytes("header", leadPlain), golden.Bytes("body", MaxPlain)
			var want bytes.Buffer
			var rest func() error
			for rest == nil {
				sentHeader, sentBody := bytes.Clone(header), bytes.Clone(body)
				var err error
				if rest, err = a.WriteAhead(sentHeader, sentBody); err != nil {
					t.Fatal(err)
				}
				clear(sentHeader)
				clear(sentBody)
				want.Write(header)
				want.Write(body)
			}
			after := make(chan error)
			go func() {
				_, err := a.Write([]byte("after"))
				after <- err
			}()
			go func() {
				err := writeAhead(a, []byte("af"), []byte("ter"))
				after <- err
			}()
			want.WriteString("afterafter")
			sent := make(chan error, 1)
			go func() { sent <- rest() }()
			got := make([]byte, want.Len())
			if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, want.Bytes()) {
				t.Errorf("other bytes: %v", err)
			}
			for _, done := range []chan error{sent, after, after} {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestAheadNothing sends no record, which the peer would refuse.
func TestAheadNothing(t *testing.T) {
	a, b := pair(t, RecordsPerSecret)
	if rest, err := a.WriteAhead(nil, nil); rest != nil || err != nil {
		t.Fatal(err)
	}
	writeAhead(a, nil, []byte("data"))
	p := make([]byte, 10)
	if n, err := b.Read(p); string(p[:n]) != "data" || err != nil {
		t.Errorf("%q, %v", p[:n], err)
	}
}

// TestAheadFails has a direction that failed stay so, and nothing stay locked.
func TestAheadFails(t *testing.T) {
	past := func(c *Conn) { c.SetWriteDeadline(time.Now().Add(-time.Second)) }
	closed := func(c *Conn) { c.Close() }
	cut := func(c *Conn) { c.Conn.(*net.TCPConn).CloseWrite() }
	for name, test := range map[string]struct {
		link string
		end  func(*Conn)
		want error
	}{
		"deadline":           {"tcp", past, os.ErrDeadlineExceeded},
		"closed":             {"tcp", closed, net.ErrClosed},
		"cut":                {"tcp", cut, syscall.EPIPE},
		"deadline of a pipe": {"pipe", past, os.ErrDeadlineExceeded},
		"closed, hidden":     {"hidden", closed, net.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			a, _ := aheadLinks[test.link](t)
			test.end(a)
			for range 3 {
				if err := writeAhead(a, []byte("head"), []byte("body")); !errors.Is(err, test.want) {
					t.Errorf("%v, not %v", err, test.want)
				}
				a.SetWriteDeadline(time.Time{})
				if _, err := a.Write([]byte("data")); !errors.Is(err, test.want) {
					t.Errorf("%v, not %v", err, test.want)
				}
				if _, err := a.WriteAhead(nil, nil); !errors.Is(err, test.want) {
					t.Errorf("%v, not %v", err, test.want)
				}
			}
		})
	}
}

// TestAheadRestFails has the deadline pass while something is left.
func TestAheadRestFails(t *testing.T) {
	a, _ := pair(t, RecordsPerSecret)
	var rest func() error
	for rest == nil {
		var err error
		if rest, err = a.WriteAhead([]byte("head"), make([]byte, MaxPlain)); err != nil {
			t.Fatal(err)
		}
	}
	a.SetWriteDeadline(time.Now().Add(time.Millisecond))
	if err := rest(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	a.SetWriteDeadline(time.Time{})
	if err := writeAhead(a, nil, []byte("more")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

// TestAheadTogether has many write in both ways at once: no message is torn.
func TestAheadTogether(t *testing.T) {
	for name, link := range aheadLinks {
		t.Run(name, func(t *testing.T) {
			a, b := link(t)
			const writers, writes, head, body = 4, 30, leadPlain, 20_000
			var wait sync.WaitGroup
			for i := range writers {
				wait.Go(func() {
					message := bytes.Repeat([]byte{byte(i)}, head+body)
					for j := range writes {
						var err error
						if (i+j)%2 == 0 {
							err = writeAhead(a, message[:head], message[head:])
						} else {
							_, err = a.Write(message)
						}
						if err != nil {
							t.Error(err)
						}
					}
				})
			}
			message := make([]byte, head+body)
			for range writers * writes {
				if _, err := io.ReadFull(b, message); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(message, bytes.Repeat(message[:1], len(message))) {
					t.Fatal("messages were mixed")
				}
			}
			wait.Wait()
		})
	}
}

// TestAheadFull has a connection be full already, and take nothing at all.
func TestAheadFull(t *testing.T) {
	x, y := tcpPipe(t)
	x.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	before := 0
	for err := error(nil); err == nil; {
		var n int
		n, err = x.Write(make([]byte, 1<<20))
		before += n
	}
	x.SetWriteDeadline(time.Time{})
	a, b := wrap(t, x, 0, 5), wrap(t, y, 1, 5)
	var rest func() error
	sent := 0
	for ; rest == nil; sent++ {
		var err error
		if rest, err = a.WriteAhead(nil, []byte{byte(sent)}); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, 1)
	go func() { done <- rest() }()
	if _, err := io.CopyN(io.Discard, y, int64(before)); err != nil {
		t.Fatal(err)
	}
	for i := range sent {
		p := make([]byte, 1)
		if _, err := b.Read(p); err != nil || p[0] != byte(i) {
			t.Fatalf("message %d is %d: %v", i, p[0], err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
