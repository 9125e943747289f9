package uplink_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/deploy/localnet/network"
	"github.com/cairnstorage/cairn/uplink"
)

const (
	bucket = "bucket"
	// patience is longer than a machine can be busy. Tests in which a node is to
	// be given up set a shorter one.
	patience = 2 * time.Minute
)

// logger shows what goes on when tests run verbosely and CAIRN_TEST_LOG is set.
func logger() *slog.Logger {
	if os.Getenv("CAIRN_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

// shared is a network of ten nodes for all tests that leave its nodes alone.
var shared struct {
	once  sync.Once
	dir   string
	net   *network.Network
	grant string
	err   error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.net != nil {
		if err := shared.net.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.RemoveAll(shared.dir)
	os.Exit(code)
}

// onNetwork opens a project on the shared network and empties the bucket.
func onNetwork(t testing.TB) *uplink.Project {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "uplink-test-"); shared.err != nil {
			return
		}
		if shared.net, shared.err = network.Start(ctx, network.Config{Dir: shared.dir, Nodes: 10, Logger: logger()}); shared.err != nil {
			return
		}
		shared.grant, shared.err = shared.net.Grant(ctx, "test", "passphrase")
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	p := openProject(t, shared.grant)
	if err := p.DeleteBucket(ctx, bucket, true); err != nil && !errors.Is(err, uplink.ErrBucketNotFound) {
		t.Fatal(err)
	}
	if _, err := p.CreateBucket(ctx, bucket); err != nil {
		t.Fatal(err)
	}
	return p
}

// startNetwork runs a network of ten nodes for one test and opens a project with
// a bucket in it.
func startNetwork(t testing.TB, c network.Config) (*network.Network, *uplink.Project) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c.Dir = t.TempDir()
	if c.Nodes == 0 {
		c.Nodes = 10
	}
	if c.Logger == nil {
		c.Logger = logger()
	}
	n, err := network.Start(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	grant, err := n.Grant(ctx, "test", "passphrase")
	if err != nil {
		t.Fatal(err)
	}
	p := openProject(t, grant)
	if _, err := p.CreateBucket(ctx, bucket); err != nil {
		t.Fatal(err)
	}
	return n, p
}

func openProject(t testing.TB, grant string) *uplink.Project {
	t.Helper()
	p, err := uplink.Open(context.Background(), grant, uplink.WithLogger(logger()))
	if err != nil {
		t.Fatal(err)
	}
	if _, measured := t.(*testing.B); !measured {
		p.Tolerate(patience)
	}
	t.Cleanup(func() {
		p.Close()
		if put, get := p.Held(); put != 0 || get != 0 {
			t.Errorf("after all is closed, %d buffers of uploads and %d of downloads are held", put, get)
		}
	})
	return p
}

// noise is size bytes that are the same for the same size. They come from a cipher
// in assembly: the race detector would look at every eight bytes of another's.
func noise(size int) []byte {
	block, err := aes.NewCipher([]byte{31: 0, 0: byte(size), 1: byte(size >> 8), 2: byte(size >> 16)})
	if err != nil {
		panic(err)
	}
	data := make([]byte, size)
	cipher.NewCTR(block, make([]byte, aes.BlockSize)).XORKeyStream(data, data)
	return data
}

func put(t testing.TB, p *uplink.Project, key string, data []byte) uplink.Object {
	t.Helper()
	u, err := p.Upload(context.Background(), bucket, key, uplink.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(u, bytes.NewReader(data)); err != nil {
		u.Abort()
		t.Fatal(err)
	}
	o, err := u.Commit(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// putWhole puts an object and returns once every node has its shards.
func putWhole(t testing.TB, p *uplink.Project, key string, data []byte) {
	t.Helper()
	put(t, p, key, data)
	await(t, "all nodes to take their shards", func() bool { return !p.Sending() })
}

func get(p *uplink.Project, key string, o uplink.DownloadOptions) ([]byte, error) {
	d, err := p.Download(context.Background(), bucket, key, o)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var got bytes.Buffer
	if got.Grow(int(d.Object().Size)); o.Length > 0 {
		got = *bytes.NewBuffer(make([]byte, 0, o.Length))
	}
	_, err = d.WriteTo(&got)
	return got.Bytes(), err
}

func checkGet(t testing.TB, p *uplink.Project, key string, want []byte) {
	t.Helper()
	got, err := get(p, key, uplink.DownloadOptions{})
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: %d bytes came back differently", key, len(want))
	}
}
