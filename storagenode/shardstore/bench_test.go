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

// BenchmarkVerify reads shards whole, as a scrub does.
func BenchmarkVerify(b *testing.B) {
	for _, size := range []int{64 << 10, 1 << 20, 16 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s, err := Open(Config{Dirs: []string{b.TempDir()}, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			one := newSample(0, size)
			putMany(b, s, one, 20)
			b.SetBytes(int64(size))
			b.ResetTimer()
			for i := range b.N {
				binary.BigEndian.PutUint64(one.meta.Segment[8:], uint64(i%20+1))
				if err := s.Verify(b.Context(), one.meta.Key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMissingRuns tells what is missing to a node that has just joined a
// group of 100,000 segments.
func BenchmarkMissingRuns(b *testing.B) {
	s := journaled(b, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		runs, _, err := s.MissingRuns(1)
		if err != nil || len(runs) != 1 || runs.Len() != 100_000 {
			b.Fatal(runs, err)
		}
	}
}

// BenchmarkResync compares what is missing with a trimmed journal of 100,000
// segments that are live.
func BenchmarkResync(b *testing.B) {
	s := journaled(b, 100_000)
	for b.Loop() {
		if err := s.Resync(1, 100_000, inPages(journalOf(100_000), 1000)); err != nil {
			b.Fatal(err)
		}
	}
}

// journaled is a store that has followed a journal of so many entries and holds
// nothing.
func journaled(b *testing.B, n int) *Store {
	s, err := Open(Config{Dirs: []string{b.TempDir()}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	if err := s.Advance(1, journalOf(n)); err != nil {
		b.Fatal(err)
	}
	return s
}

func journalOf(n int) []Entry {
	entries := make([]Entry, n)
	for i := range entries {
		e := Entry{Seq: uint64(i + 1), Live: true, Size: 1}
		binary.BigEndian.PutUint64(e.Segment[:], uint64(i+1)*0x9e3779b97f4a7c15)
		entries[i] = e
	}
	return entries
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
