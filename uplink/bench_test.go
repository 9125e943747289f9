package uplink_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/deploy/localnet/network"
	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/uplink"
)

const benchSize = 256 << 20

// perGiB reports the CPU seconds that all parties took for a GiB: they share
// this process.
func perGiB(b *testing.B, work func()) {
	before := cpuTime()
	b.SetBytes(benchSize)
	for b.Loop() {
		work()
	}
	bytes := float64(b.N) * benchSize
	b.ReportMetric((cpuTime()-before).Seconds()/(bytes/(1<<30)), "cpu-s/GiB")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchSchemes(b *testing.B, run func(b *testing.B, p *uplink.Project)) {
	for _, text := range []string{"4/6/8/10", "20/28/32/40"} {
		scheme, err := erasure.ParseScheme(text)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(text, func(b *testing.B) {
			_, p := startNetwork(b, network.Config{Nodes: scheme.Total, Scheme: scheme})
			run(b, p)
		})
	}
}

func BenchmarkUpload(b *testing.B) {
	data := noise(benchSize)
	benchSchemes(b, func(b *testing.B, p *uplink.Project) {
		perGiB(b, func() { put(b, p, "object", data) })
	})
}

func BenchmarkDownload(b *testing.B) {
	data := noise(benchSize)
	benchSchemes(b, func(b *testing.B, p *uplink.Project) {
		put(b, p, "object", data)
		perGiB(b, func() {
			d, err := p.Download(context.Background(), bucket, "object", uplink.DownloadOptions{})
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			if _, err := io.Copy(io.Discard, d); err != nil {
				b.Fatal(err)
			}
		})
	})

}

// BenchmarkSmall puts and gets objects of one size, one after another and eight
// at a time.
func BenchmarkSmall(b *testing.B) {
	_, p := startNetwork(b, network.Config{})
	for _, size := range []int{4 << 10, 64 << 10} {
		data := noise(size - 100)
		for _, parallel := range []int{1, 8} {
			name := fmt.Sprintf("%dKiB/%d", size>>10, parallel)
			b.Run("put/"+name, func(b *testing.B) {
				many(b, parallel, func(i int) { put(b, p, fmt.Sprintf("%s/%d", name, i%1000), data) })
			})
			b.Run("get/"+name, func(b *testing.B) {
				many(b, parallel, func(i int) { checkGet(b, p, fmt.Sprintf("%s/%d", name, i%100), data) })
			})
		}
	}
}

// many does the work b.N times, so many at a time.
func many(b *testing.B, parallel int, work func(i int)) {
	var next atomic.Int64
	var wait sync.WaitGroup
	before := cpuTime()
	b.ResetTimer()
	for range parallel {
		wait.Go(func() {
			for i := int(next.Add(1)); i <= b.N; i = int(next.Add(1)) {
				work(i)
			}
		})
	}
	wait.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
	b.ReportMetric((cpuTime()-before).Seconds()*1000/float64(b.N), "cpu-ms/op")
}
