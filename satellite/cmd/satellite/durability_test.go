package main

import (
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/pb"
)

func measured() *pb.DurabilityResponse {
	return &pb.DurabilityResponse{
		Schemes: []*pb.SchemeUse{{Scheme: "20/28/32/40", Groups: 100, Nodes: 1000, Segments: 1_000_000, SlotBytes: 250e9, ShortShare: 0.01}},
		// Ten failures in a hundred node-years.
		NodeHours: 876_600, Failures: 10, Grace: 3600,
		Rebuilt: 40, RebuildSeconds: 40_000, RebuildMegabytes: 20_000,
	}
}

func TestDurabilityInputs(t *testing.T) {
	m := measured()
	in, err := (&given{}).inputs(m, m.Schemes[0])
	if err != nil {
		t.Fatal(err)
	}
	// 0.5 MB of shards a second are made of 20 times as much.
	if in.Observed.NodeYears != 100 || in.Observed.Failures != 10 || in.Detect != time.Hour || in.HealRate != 10_000_000 ||
		in.Nodes != 1000 || in.Groups != 100 || in.SlotBytes != 250e9 || in.ShortShare != 0.01 || in.Rebuild != 0 || in.FailureRate != 0 {
		t.Errorf("%+v", in)
	}
	in, err = (&given{failureRate: 0.5, detect: time.Minute, rebuild: time.Hour, healRate: "1MB"}).inputs(m, m.Schemes[0])
	if err != nil || in.FailureRate != 0.5 || in.Detect != time.Minute || in.Rebuild != time.Hour || in.HealRate != 1_000_000 {
		t.Errorf("%+v, %v", in, err)
	}
	m.RebuildMegabytes = minMeasured - 1 // too little to tell
	if in, err := (&given{}).inputs(m, m.Schemes[0]); err != nil || in.HealRate != 0 {
		t.Errorf("%+v, %v", in, err)
	}
	if _, err := (&given{healRate: "fast"}).inputs(m, m.Schemes[0]); err == nil || !strings.Contains(err.Error(), "--heal-rate") {
		t.Error(err)
	}
}

func TestDurabilityText(t *testing.T) {
	reports, err := (&given{}).estimate(measured())
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	printDurability(&out, &reports[0])
	for _, want := range []string{
		"20/28/32/40, 1000 nodes in 100 groups", "(measured; below", "noticed after\t1h0m0s",
		"10 % gone at once", "dominated by\tthe loss of", "nines a year that nothing is lost",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if _, err := (&given{}).estimate(&pb.DurabilityResponse{}); err == nil || !strings.Contains(err.Error(), "no placement groups") {
		t.Error(err)
	}
}
