package record

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/internal/golden"
)

// tcpPipe is a connection over loopback.
func tcpPipe(t testing.TB) (client, server net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if client, err = net.Dial("tcp", listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if server, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

// wrap makes a Conn, side 0 or 1, that changes its secret after so many records.
func wrap(t testing.TB, raw net.Conn, side int, rekey uint64) *Conn {
	t.Helper()
	secrets := []Secret{secret("client"), secret("server")}
	c, err := New(raw, AES128GCM, Secrets{Send: secrets[side], Receive: secrets[1-side]})
	if err != nil {
		t.Fatal(err)
	}
	c.in.rekey, c.out.rekey = rekey, rekey
	return c
}

func pair(t testing.TB, rekey uint64) (a, b *Conn) {
	client, server := tcpPipe(t)
	return wrap(t, client, 0, rekey), wrap(t, server, 1, rekey)
}

// TestSizes moves what is written in pieces of all interesting sizes and read in
// others.
func TestSizes(t *testing.T) {
	edges := []int{
		1, leadPlain - 1, leadPlain, leadPlain + 1, smallRecord - tagSize, smallRecord - tagSize + 1, largePlain, largePlain + 1,
		MaxPlain - 1, MaxPlain, MaxPlain + 1, 3*MaxPlain + 1,
	}
	for _, write := range edges {
		for _, read := range []int{1 << 10, leadPlain, largePlain, MaxPlain - leadPlain, MaxPlain, 4 * MaxPlain} {
			t.Run(fmt.Sprintf("%d/%d", write, read), func(t *testing.T) {
				a, b := pair(t, 5)
				data := golden.Bytes("data", write)
				go func() {
					for range 3 {
						if n, err := a.Write(data); n != len(data) || err != nil {
							t.Errorf("wrote %d: %v", n, err)
						}
					}
					a.Close()
				}()
				got, err := readIn(b, read)
				if err != nil || !bytes.Equal(got, bytes.Repeat(data, 3)) {
					t.Errorf("read %d of %d bytes: %v", len(got), 3*len(data), err)
				}
			})
		}
	}
}

// readIn reads to the end, so many bytes at a time.
func readIn(r io.Reader, size int) (all []byte, err error) {
	p := make([]byte, size)
	for {
		n, err := r.Read(p)
		all = append(all, p[:n]...)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		if n == 0 {
			return all, errors.New("nothing was read, and no error")
		}
	}
}

// TestHeaderFirst is what lets a multiplexer have the body of a message where it
// wants it: a read of the header leaves a record that has the body alone.
func TestHeaderFirst(t *testing.T) {
	a, b := pair(t, RecordsPerSecret)
	message := golden.Bytes("message", MaxPlain)
	go a.Write(message)
	header, body := make([]byte, leadPlain), make([]byte, MaxPlain-leadPlain)
	if n, err := b.Read(header); n != len(header) || err != nil {
		t.Fatalf("header: %d, %v", n, err)
	}
	if n, err := b.Read(body); n != len(body) || err != nil || b.buffer != nil {
		t.Fatalf("body: %d, %v", n, err)
	}
	if !bytes.Equal(append(header, body...), message) {
		t.Error("another message")
	}
}

// TestReadGoesOn has a deadline pass after each byte of a record.
func TestReadGoesOn(t *testing.T) {
	for _, size := range []int{1, smallRecord, largePlain, largePlain + 1} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			sent, received := net.Pipe()
			defer received.Close()
			defer sent.Close()
			data := golden.Bytes("data", size)
			sealed, err := wrap(t, sent, 0, 3).sealMessage(make([]byte, 0, maxBuffer), data[:min(size, leadPlain)], data[min(size, leadPlain):])
			if err != nil {
				t.Fatal(err)
			}
			b := wrap(t, received, 1, 3)
			var got []byte
			for p := make([]byte, size); len(sealed) > 0; sealed = sealed[min(len(sealed), 1+size/100):] {
				b.SetReadDeadline(time.Unix(1, 0))
				if n, err := b.Read(p); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("read %d bytes too soon: %v", n, err)
				}
				b.SetReadDeadline(time.Now().Add(time.Minute))
				part, written := sealed[:min(len(sealed), 1+size/100)], make(chan bool)
				go func() {
					sent.Write(part)
					b.SetReadDeadline(time.Unix(1, 0)) // what has come by then is taken in
					close(written)
				}()
				n, err := b.Read(p)
				if got = append(got, p[:n]...); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal(err)
				}
				<-written
			}
			if !bytes.Equal(got, data) {
				t.Errorf("read %d bytes of %d, or others", len(got), size)
			}
		})
	}
}

// TestBothWays has many goroutines write and one read at each end.
func TestBothWays(t *testing.T) {
	a, b := pair(t, 7)
	const writers, writes, size = 4, 50, 10_000
	var wait sync.WaitGroup
	for _, ends := range [][2]*Conn{{a, b}, {b, a}} {
		for i := range writers {
			wait.Go(func() {
				message := bytes.Repeat([]byte{byte(i)}, size)
				for range writes {
					if _, err := ends[0].Write(message); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wait.Go(func() {
			message := make([]byte, size)
			for range writers * writes {
				if _, err := io.ReadFull(ends[1], message); err != nil {
					t.Error(err)
				}
				if !bytes.Equal(message, bytes.Repeat(message[:1], size)) {
					t.Error("writes were mixed")
				}
			}
		})
	}
	wait.Wait()
}

// TestCut ends a connection after every byte of a record: only a whole one is
// followed by a plain end.
func TestCut(t *testing.T) {
	record, err := newTestHalf(t, AES128GCM, 1).seal(nil, golden.Bytes("plain", 2*smallRecord))
	if err != nil {
		t.Fatal(err)
	}
	for size := range len(record) + 1 {
		c := receiver(t, record[:size])
		got, err := readIn(c, 100)
		whole := size == 0 || size == len(record)
		if (err == nil) != whole || !whole && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if size < len(record) && len(got) > 0 {
			t.Fatalf("%d bytes of a record gave %d", size, len(got))
		}
		if c.buffer != nil {
			t.Fatalf("%d bytes: a buffer was kept", size)
		}
	}
}

// receiver is a Conn that has received the bytes and nothing after.
func receiver(t testing.TB, raw []byte) *Conn {
	t.Helper()
	c, err := New(received{Reader: bytes.NewReader(raw)}, AES128GCM, Secrets{Receive: secret("record")})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type received struct {
	net.Conn
	io.Reader
}

func (r received) Read(p []byte) (int, error) { return r.Reader.Read(p) }

// TestEnds sees to it that a direction that failed stays so, whatever comes.
func TestEnds(t *testing.T) {
	good, err := newTestHalf(t, AES128GCM, 1).seal(nil, []byte("good"))
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Clone(good)
	forged[len(forged)-1]++
	for _, test := range []struct {
		name string
		raw  []byte
		want error
	}{
		{"forged", forged, ErrForged},
		{"size", []byte{0xff, 0xff, 0xff, 0xff}, ErrSize},
		{"refused", []byte{23, 3, 3, 0, 19}, ErrRefused},
	} {
		c := receiver(t, append(test.raw, good...))
		for range 3 {
			if n, err := c.Read(make([]byte, 10)); n != 0 || !errors.Is(err, test.want) {
				t.Errorf("%s: %d, %v", test.name, n, err)
			}
		}
	}
}

func TestDeadline(t *testing.T) {
	a, b := pair(t, RecordsPerSecret)
	if err := b.SetDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	if n, err := b.Write([]byte("late")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("wrote %d: %v", n, err)
	}
	a.Close()
	if n, err := a.Write(nil); n != 0 || err != nil {
		t.Errorf("wrote nothing: %d, %v", n, err)
	}
	if _, err := a.Write([]byte("closed")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("wrote to a closed connection: %v", err)
	}
}

// FuzzRead receives what was not sealed, or only at first.
func FuzzRead(f *testing.F) {
	good, err := newTestHalf(f, AES128GCM, RecordsPerSecret).seal(nil, []byte("good"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, 4)
	f.Add(append(bytes.Clone(good), good...), 100)
	f.Add([]byte{0, 4, 0, 80, 1}, MaxPlain)
	f.Add([]byte{23, 3, 3, 0, 19}, 1)
	f.Fuzz(func(t *testing.T, raw []byte, size int) {
		got, err := readIn(receiver(t, raw), max(1, min(size, 2*MaxPlain)))
		sealed := bytes.HasPrefix(raw, good)
		if want := "good"; string(got) != want && sealed || len(got) > 0 && !sealed {
			t.Errorf("got %q", got)
		}
		if err == nil && len(raw) > 0 && !bytes.Equal(raw, good) {
			t.Error("no error")
		}
	})
}

// BenchmarkConn compares with TLS, whose records are small.
func BenchmarkConn(b *testing.B) {
	for _, size := range []int{64, 4 << 10, 64 << 10, MaxPlain} {
		b.Run(fmt.Sprintf("record/%d", size), func(b *testing.B) {
			x, y := pair(b, RecordsPerSecret)
			benchmark(b, x, y, size)
		})
		b.Run(fmt.Sprintf("tls/%d", size), func(b *testing.B) {
			x, y := tlsPair(b)
			benchmark(b, x, y, size)
		})
	}
}

func benchmark(b *testing.B, from io.Writer, to io.Reader, size int) {
	b.SetBytes(int64(size))
	done := make(chan error)
	go func() {
		done <- discard(to, size*b.N)
	}()
	message := golden.Bytes("message", size)
	for range b.N {
		if _, err := from.Write(message); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// discard reads so many bytes in large pieces.
func discard(r io.Reader, left int) error {
	p := make([]byte, MaxPlain)
	for left > 0 {
		n, err := r.Read(p)
		if err != nil {
			return err
		}
		left -= n
	}
	return nil
}

func tlsPair(b *testing.B) (client, server *tls.Conn) {
	x, y := tcpPipe(b)
	config := &tls.Config{Certificates: []tls.Certificate{selfSigned(b)}, InsecureSkipVerify: true}
	client, server = tls.Client(x, config), tls.Server(y, config)
	go client.Handshake()
	if err := server.Handshake(); err != nil {
		b.Fatal(err)
	}
	return client, server
}

func selfSigned(b *testing.B) tls.Certificate {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		b.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}
