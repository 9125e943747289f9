package satellite

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/satellite/audit"
)

// BenchmarkAudit measures whole audits, from the draw to the standing, of shards
// of 1 MiB on a warm disk: the time, the CPU of satellite and node together, and
// the bytes on the wire in both directions, for each challenge on a leaf of
// 4 KiB.
func BenchmarkAudit(b *testing.B) {
	for _, batch := range []int{DefaultAuditBatch, MaxAuditBatch} {
		b.Run(fmt.Sprint(batch), func(b *testing.B) {
			a := newAudits(b)
			a.auditor.batch = batch
			for i := range 3 {
				a.node.putSized(1, fmt.Sprint(i), 100, 4<<20)
			}
			a.node.claim(1)
			a.audit()
			moved, spent, asked := a.moved(), cpu(b), a.auditor.verdicts[audit.Proved].Load()
			b.ResetTimer()
			for b.Loop() {
				a.makeDue()
				must(b, a.auditOnce(b.Context()))
				a.auditor.wait()
			}
			b.StopTimer()
			asked = a.auditor.verdicts[audit.Proved].Load() - asked
			if want := uint64(b.N * batch); asked != want {
				b.Fatalf("%d of %d challenges were proved", asked, want)
			}
			each := func(total float64, unit string) { b.ReportMetric(total/float64(asked), unit) }
			each(float64(a.moved()-moved), "B/challenge")
			each(float64((cpu(b) - spent).Microseconds()), "cpu-µs/challenge")
			each(float64(b.Elapsed().Microseconds()), "µs/challenge")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// moved is the bytes of audit streams so far.
func (a *audits) moved() (n uint64) {
	for _, t := range a.host.Stats().Traffic {
		if t.Protocol == wire.AuditProtocol {
			n += t.In + t.Out
		}
	}
	return n
}

// cpu is the time that this process has spent.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
