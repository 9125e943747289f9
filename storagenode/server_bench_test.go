package storagenode

import (
	"crypto/rand"
	"fmt"
	"testing"
)

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{16 << 10, 1 << 20, 16 << 20} {
		b.Run(fmt.Sprint(size>>10, "KiB"), func(b *testing.B) {
			v := newServed(b, func(v *served) { v.storeConfig.VolumeSize = 0 })
			shard := newTestShard(b, size)
			p := v.openPut(1 << 60)
			b.SetBytes(int64(size))
			done := make(chan error, 1)
			go func() {
				for range b.N {
					if _, _, err := p.Answer(); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
			for range b.N {
				rand.Read(shard.id[:])
				if err := shard.put(p); err != nil {
					b.Fatal(err)
				}
			}
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	for _, size := range []int{64 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size>>10, "KiB"), func(b *testing.B) {
			v := newServed(b, nil)
			shard := newTestShard(b, 16<<20)
			v.put(shard)
			g := v.openGet(1 << 60)
			into := make([]byte, size)
			b.SetBytes(int64(size))
			b.ResetTimer()
			go func() {
				for i := range b.N {
					g.Request(shard.id, int64(i*size%(16<<20)), size)
				}
			}()
			for range b.N {
				if err := g.Receive(into); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The delay that a single get adds on an open stream.
func BenchmarkGetRoundTrip(b *testing.B) {
	v := newServed(b, nil)
	shard := newTestShard(b, 1<<20)
	v.put(shard)
	g := v.openGet(1 << 60)
	into := make([]byte, 4096)
	for b.Loop() {
		g.Request(shard.id, 0, len(into))
		if err := g.Receive(into); err != nil {
			b.Fatal(err)
		}
	}
}
