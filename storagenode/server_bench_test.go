package storagenode

import (
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/wire"
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

// auditable puts some shards and draws challenges on leaves of them.
func auditable(b *testing.B, v *served, n int) []order.Challenge {
	b.Helper()
	const size = 51 * 64 << 10 // as of full segments where k is 20
	challenges := make([]order.Challenge, n)
	for range 32 {
		s := newTestShard(b, size)
		v.put(s)
		for i := range challenges {
			if c := &challenges[i]; c.Seq == 0 || mathrand.N(32) == 0 {
				*c = s.challenge(1, mathrand.N(merkle.LeafCount(size)))
			}
		}
	}
	return challenges
}

// cpuTime is what this process has used of the processors.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Audits over a real connection. The processor's time is that of both ends and
// of their transports; bytes are those of the frames, both ways.
func BenchmarkAudit(b *testing.B) {
	const n = 256
	v := newServed(b, nil)
	audit := testAudit(auditable(b, v, n)...)
	a := v.openAudit()
	var answers []order.Answer
	b.ResetTimer()
	began, wall := cpuTime(b), time.Now()
	for range b.N {
		var err error
		if answers, _, err = a.Ask(audit); err != nil {
			b.Fatal(err)
		}
		for i := range answers {
			if err := audit.Challenges[i].Verify(&answers[i]); err != nil {
				b.Fatal(err)
			}
		}
	}
	count := float64(b.N * n)
	b.ReportMetric(float64(time.Since(wall).Nanoseconds())/count, "ns/challenge")
	b.ReportMetric(float64((cpuTime(b)-began).Nanoseconds())/count, "cpu-ns/challenge")
	frames := wire.HeaderSize + proto.Size(audit.Message())
	for i := range answers {
		frames += wire.HeaderSize + proto.Size(answers[i].Message())
	}
	b.ReportMetric(float64(frames)/n, "B/challenge")
}

// What of an audit the node does by itself, without its transport.
func BenchmarkAnswer(b *testing.B) {
	const n = 256
	v := newServed(b, nil)
	challenges := auditable(b, v, n)
	p := prover{Server: v.server}
	b.ResetTimer()
	began := cpuTime(b)
	for range b.N {
		for i := 0; i < n; i += auditBlock {
			answers, err := p.answerAll(b.Context(), challenges[i:i+auditBlock])
			if err != nil || answers[0].Status != order.Proved {
				b.Fatal(answers[0].Status, err)
			}
			for i := range answers {
				answers[i].Hash()
			}
		}
	}
	b.ReportMetric(float64((cpuTime(b)-began).Nanoseconds())/float64(b.N*n), "cpu-ns/challenge")
}
