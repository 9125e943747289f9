package shardstore

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkPut is 16 writers that put durable shards, each with its own bytes
// hashed.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20, 16 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s, err := Open(Config{Dirs: []string{b.TempDir()}, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			sample := newSample(0, size)
			b.SetBytes(int64(size))
			b.ResetTimer()
			putMany(b, s, sample, b.N)
		})
	}
}

func putMany(b *testing.B, s *Store, one sample, n int) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			one := one
			for {
				i := next.Add(1)
				if i > int64(n) {
					return
				}
				binary.BigEndian.PutUint64(one.meta.Segment[8:], uint64(i))
				if err := one.put(s); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkGet opens shards and reads them whole.
func BenchmarkGet(b *testing.B) {
	for _, size := range []int{64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s, err := Open(Config{Dirs: []string{b.TempDir()}, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			one := newSample(0, size)
			putMany(b, s, one, 200)
			buf := make([]byte, 256<<10)
			b.SetBytes(int64(size))
			b.ResetTimer()
			for i := range b.N {
				binary.BigEndian.PutUint64(one.meta.Segment[8:], uint64(i%200+1))
				h, err := s.Open(one.meta.Key)
				if err != nil {
					b.Fatal(err)
				}
				for off := int64(0); off < h.Info().Size(); off += int64(len(buf)) {
					if _, err := h.ReadAt(buf[:min(int64(len(buf)), h.Info().Size()-off)], off); err != nil {
						b.Fatal(err)
					}
				}
				h.Close()
			}
		})
	}
}

// BenchmarkProve proves one leaf of a shard of 16 MiB.
func BenchmarkProve(b *testing.B) {
	s, err := Open(Config{Dirs: []string{b.TempDir()}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	one := newSample(0, 16<<20)
	if err := one.put(s); err != nil {
		b.Fatal(err)
	}
	h, err := s.Open(one.meta.Key)
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	for i := range b.N {
		if _, _, err := h.Prove(i%4096, 1); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDelete deletes shards of 64 KiB by journal, 500 at a time.
func BenchmarkDelete(b *testing.B) {
	s, err := Open(Config{Dirs: []string{b.TempDir()}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	one := newSample(0, 64<<10)
	putMany(b, s, one, b.N)
	var entries []Entry
	for i := range b.N {
		binary.BigEndian.PutUint64(one.meta.Segment[8:], uint64(i+1))
		entries = append(entries, Entry{Seq: uint64(i + 1), Segment: one.meta.Segment})
	}
	b.ResetTimer()
	if err := s.Advance(one.meta.Group, entries); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	if n := s.Usage().Shards; n != 0 {
		b.Fatalf("%d shards are left", n)
	}
}
