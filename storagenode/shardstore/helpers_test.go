package shardstore

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
)

// A sample is a shard that a test puts: a whole one, with roots that fit.
type sample struct {
	meta Meta
	data []byte
}

// newSample makes the shard number n of some segment, of a size that a layout
// can have: a multiple of 64 bytes.
func newSample(n uint64, size int) sample {
	const required, total = 4, 10
	// From a cipher in assembly, since the race detector looks at every eight
	// bytes of another's.
	block, err := aes.NewCipher(binary.BigEndian.AppendUint64(make([]byte, 24), n))
	if err != nil {
		panic(err)
	}
	data := make([]byte, size)
	cipher.NewCTR(block, make([]byte, aes.BlockSize)).XORKeyStream(data, data)
	return sampleOf(n, data, required, total)
}

func sampleOf(n uint64, data []byte, required, total int) sample {
	s := sample{data: data}
	s.meta.Group = uint32(1 + n%3)
	s.meta.Segment = order.SegmentID{0: 1}
	binary.BigEndian.PutUint64(s.meta.Segment[8:], n)
	s.meta.Slot = int(n % uint64(total))
	s.meta.Layout = erasure.Layout{Required: required, Total: total, Size: int64(len(data) * required)}
	s.meta.ShardRoots = make([]merkle.Hash, total)
	for i := range s.meta.ShardRoots {
		s.meta.ShardRoots[i][0] = byte(i)
	}
	s.meta.ShardRoots[s.meta.Slot] = merkle.ShardRoot(data)
	s.meta.Root = merkle.SegmentRoot(s.meta.Layout, s.meta.ShardRoots)
	return s
}

// write puts a shard up to where only Commit is missing.
func (s sample) write(st *Store) (*Writer, error) {
	w, err := st.Create(context.Background(), s.meta.Key, int64(len(s.data)), s.meta.Layout.Total)
	if err != nil {
		return nil, err
	}
	for rest := s.data; len(rest) > 0; {
		n := min(len(rest), 256<<10)
		if _, err := w.Write(rest[:n]); err != nil {
			w.Abort()
			return nil, err
		}
		rest = rest[n:]
	}
	return w, nil
}

func (s sample) put(st *Store) error {
	w, err := s.write(st)
	if err != nil {
		return err
	}
	_, err = w.Commit(context.Background(), s.meta)
	return err
}

// tempDir is a directory in memory where there is room for that: most tests
// are not about what the disk does, and sync often.
func tempDir(t testing.TB) string {
	const memory = "/dev/shm"
	if free, _, err := freeSpace(memory); err != nil || free < 4<<30 {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "cairn-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// testConfig is a store in one new directory, with small figures.
func testConfig(t testing.TB) Config {
	return Config{
		Dirs:       []string{tempDir(t)},
		Reserve:    1 << 20,
		VolumeSize: 4 << 20,
		Logger:     slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

func openStore(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// copyTree copies a directory, and holes in files as holes: most of an index is.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, path[len(from):])
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		return copyFile(path, target)
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	for end := int64(0); ; {
		at, ok, err := nextData(in, end)
		if err != nil {
			return err
		}
		if !ok {
			return out.Truncate(st.Size())
		}
		if end, err = in.Seek(at, unix.SEEK_HOLE); err != nil {
			return err
		}
		_, err = in.Seek(at, io.SeekStart)
		if err == nil {
			_, err = out.Seek(at, io.SeekStart)
		}
		if err == nil {
			_, err = io.CopyN(out, in, end-at)
		}
		if errors.Is(err, io.EOF) {
			return nil // it was cut off meanwhile
		}
		if err != nil {
			return err
		}
	}
}
