package badgerkv_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/kv/badgerkv"
)

// BenchmarkUpdate is about a commit of a small object: two reads, three writes.
func BenchmarkUpdate(b *testing.B) {
	for _, writers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := openDefault(b)
			value := make([]byte, 150)
			var next atomic.Uint64
			b.SetParallelism(writers) // times GOMAXPROCS
			update := func() error {
				key := binary.BigEndian.AppendUint64(nil, next.Add(1)*0x9e3779b97f4a7c15)
				return s.Update(context.Background(), func(tx kv.Tx) error {
					for _, kind := range []byte("ab") {
						if _, err := tx.Get(append([]byte{kind}, key...)); err != kv.ErrNotFound {
							return fmt.Errorf("key is there: %w", err)
						}
					}
					for _, kind := range []byte("abc") {
						if err := tx.Set(append([]byte{kind}, key...), value); err != nil {
							return err
						}
					}
					return nil
				})
			}
			b.ReportAllocs()
			b.ResetTimer()
			if writers == 1 {
				for b.Loop() {
					if err := update(); err != nil {
						b.Fatal(err)
					}
				}
			} else {
				b.SetParallelism(writers / 2)
				b.RunParallel(func(p *testing.PB) {
					for p.Next() {
						if err := update(); err != nil {
							b.Error(err)
						}
					}
				})
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
		})
	}
}

func openDefault(b *testing.B) kv.Store {
	b.Helper()
	s, err := badgerkv.Open(badgerkv.Config{Dir: b.TempDir(), Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

func filled(b *testing.B, n int) kv.Store {
	s := openDefault(b)
	value := make([]byte, 150)
	for first := 0; first < n; first += 1000 {
		err := s.Update(context.Background(), func(tx kv.Tx) error {
			for i := range 1000 {
				if err := tx.Set(fmt.Appendf(nil, "key%09d", first+i), value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func BenchmarkGet(b *testing.B) {
	s := filled(b, 100_000)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i = (i + 7919) % 100_000
		err := s.View(context.Background(), func(r kv.Reader) error {
			_, err := r.Get(fmt.Appendf(nil, "key%09d", i))
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkScan reads pages of 1,000 pairs.
func BenchmarkScan(b *testing.B) {
	s := filled(b, 100_000)
	i, pairs := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		i = (i + 7919) % 99_000
		err := s.View(context.Background(), func(r kv.Reader) error {
			n := 0
			for _, err := range r.Scan(fmt.Appendf(nil, "key%09d", i), nil) {
				if err != nil {
					return err
				}
				if n++; n == 1000 {
					break
				}
			}
			pairs += n
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(pairs)/b.Elapsed().Seconds(), "pairs/s")
}
