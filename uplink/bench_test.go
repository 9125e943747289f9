package uplink_test

import (
	"bytes"
	"context"
	"io"
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
	_ = bytes.MinRead
}
