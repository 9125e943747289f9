package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/scripts/benchmark/results"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		args  string
		sizes []int64 // MiB; nil: it is refused
		files int
	}{
		{"", []int64{256}, 10_000},
		{"-long", []int64{256, 1024}, 10_000},
		{"-long -files 7 -size 3", []int64{3}, 7},
		{"-shaped", []int64{1024}, 10_000},
		{"-size 64,1", []int64{1, 64}, 10_000},
		{"-only ranges,commits", []int64{256}, 10_000},
		{"-size 0", nil, 0},
		{"-size 1,x", nil, 0},
		{"-only uploads", nil, 0},
		{"-rounds -1", nil, 0},
		{"-line 0", nil, 0},
		{"-o yaml", nil, 0},
		{"-compare HEAD -shaped", nil, 0},
		{"HEAD", nil, 0},
	} {
		o, err := parse(strings.Fields(tt.args))
		if (err != nil) != (tt.sizes == nil) {
			t.Errorf("%q: %v", tt.args, err)
		}
		if err != nil {
			continue
		}
		var sizes []int64
		for _, s := range o.sizes {
			sizes = append(sizes, s>>20)
		}
		if !slices.Equal(sizes, tt.sizes) || o.files != tt.files {
			t.Errorf("%q: sizes %v, %d files", tt.args, sizes, o.files)
		}
	}
	o, err := parse([]string{"-only", "ranges,commits"})
	if err != nil || !o.measures("commits") || o.measures("memory") {
		t.Errorf("what was asked for: %+v, %v", o, err)
	}
}

func TestMedianAndPercentile(t *testing.T) {
	var costs []cost
	var took []time.Duration
	for _, s := range []int{5, 1, 4, 2, 3} {
		costs = append(costs, cost{wall: time.Duration(s) * time.Second, rss: int64(s)})
	}
	if m, slowest := median(costs); m.rss != 3 || slowest.rss != 5 {
		t.Errorf("median %d, slowest %d of 1 … 5", m.rss, slowest.rss)
	}
	if m, slowest := median(costs[:2]); m.wall != 1500*time.Millisecond || slowest.rss != 2 {
		t.Errorf("median %v, slowest %d of 1 and 2", m.wall, slowest.rss)
	}
	for i := range 200 {
		took = append(took, time.Duration(200-i)*time.Millisecond)
	}
	if p50, p99 := percentile(took, 0.5), percentile(took, 0.99); p50 != 101 || p99 != 199 {
		t.Errorf("p50 %g, p99 %g of 1 … 200", p50, p99)
	}
	if got := percentile(took[:1], 0.99); got != 1 {
		t.Errorf("p99 %g of one", got)
	}
}

func TestComparedRatiosAreOfMedians(t *testing.T) {
	seconds := func(values ...int) (all []cost) {
		for _, s := range values {
			all = append(all, cost{wall: time.Duration(s) * time.Second, cpu: time.Duration(2*s) * time.Second})
		}
		return all
	}
	row := comparedRow{name: "upload", unit: "MB/s", amount: 120, costs: [2][]cost{seconds(4, 60, 6), seconds(3, 2, 1)}}
	got := row.summarise("disk")
	want := results.Compared{
		Place: "disk", Row: "upload", Unit: "MB/s", Rounds: 3, Before: 20, After: 60, Ratio: 3,
		Lowest: 4.0 / 3, Highest: 30, CPUBefore: 12, CPUAfter: 4, CPURatio: 1.0 / 3,
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// A bound is what the rounds so far came to, at the pace of who asks; a process that
// gives up is noticed.
func TestBound(t *testing.T) {
	b := newBench(t.Context(), options{})
	b.bin = t.TempDir()
	script := `#!/bin/sh
for limit in 100 200; do
	read line || exit 0
	echo '{"scheme": "2/2/3/4", "places": [{"dir": "'$6'", "upload": {"cpu_s_per_gib": 4, "limit_mb_s": '$limit', "together_mb_s": 400}}]}'
done
read line && exit 1
exit 0
`
	if err := os.WriteFile(filepath.Join(b.bin, "uplink"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		rounds int // asked for
		limit  float64
		fails  bool
	}{{0, 0, false}, {1, 100, false}, {2, 200, false}, {3, 200, true}} {
		m, err := b.startBound(t.Context(), "2/2/3/4", place{Name: results.OnDisk, dir: "here"})
		if err != nil {
			t.Fatal(err)
		}
		for range tt.rounds {
			err = m.round()
		}
		if (err != nil) != tt.fails {
			t.Errorf("%d rounds: %v", tt.rounds, err)
		}
		if err := m.close(); (err != nil) != tt.fails {
			t.Errorf("the end after %d rounds: %v", tt.rounds, err)
		}
		r := &rig{bench: newBench(t.Context(), options{}), place: place{Name: results.OnDisk}, bound: m}
		if r.scheme, err = parseScheme("2/2/3/4"); err != nil {
			t.Fatal(err)
		}
		r.report.Transfers = []results.Transfer{
			{Scheme: "2/2/3/4", Place: results.OnDisk, Direction: "upload", Rate: 50, CPUPerGiB: 8},
			{Scheme: "2/2/3/4", Place: results.OnTmpfs, Direction: "upload", Rate: 50, CPUPerGiB: 8},
		}
		r.settle()
		if tt.limit == 0 {
			if len(r.report.Bounds) > 0 || r.report.Transfers[0].OfBound != 0 {
				t.Errorf("without a round: %+v", r.report)
			}
			continue
		}
		own, others := r.report.Transfers[0], r.report.Transfers[1]
		if own.OfBound != 50/tt.limit || own.OfTogether != 0.125 || own.OfWork != 0.5 || others.OfBound != 0 {
			t.Errorf("%d rounds: %+v and elsewhere %+v", tt.rounds, own, others)
		}
		if bounds := r.report.Bounds; len(bounds) != 1 || bounds[0].Places[0].Place != results.OnDisk || bounds[0].Places[0].Upload.Limit != tt.limit {
			t.Errorf("%d rounds reported: %+v", tt.rounds, bounds)
		}
	}
}

// A disk may not pass for memory, nor memory for a disk.
func TestPlacesAreWhatTheySay(t *testing.T) {
	places, err := findPlaces(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range places {
		isMemory, err := inMemory(p.dir)
		if err != nil || isMemory != (p.Name == results.OnTmpfs) {
			t.Errorf("%s is called %s: in memory %v, %v", p.dir, p.Name, isMemory, err)
		}
		if err := p.remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(p.dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", p.dir, err)
		}
	}
	for _, p := range places {
		if p.Name != results.OnTmpfs {
			continue
		}
		got, err := findPlaces(p.Dir, p.Dir)
		if err != nil || len(got) != 1 || got[0].Name != results.OnTmpfs {
			t.Errorf("tmpfs alone gives %+v, %v", got, err)
		}
		for _, p := range got {
			p.remove()
		}
	}
}

func TestTree(t *testing.T) {
	dir := t.TempDir()
	const count = 150
	bytes, err := makeFiles(dir, count)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil || len(files) != count {
		t.Fatalf("%d files of %d: %v", len(files), count, err)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil || info.Size() < leastFile || info.Size() > mostFile {
			t.Errorf("%s: %v, %v", f, info, err)
			continue
		}
		bytes -= info.Size()
	}
	if bytes != 0 {
		t.Errorf("the sum of sizes is %d too much", bytes)
	}
}

// The memory of a command is its own, not that of who started it.
func TestCostIsTheCommandsOwn(t *testing.T) {
	own := make([]byte, 200<<20)
	for i := 0; i < len(own); i += 4096 {
		own[i] = 1
	}
	spent, err := costOf(nil, exec.Command("sleep", "0.05"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if spent.rss <= 0 || spent.rss > 100<<20 || spent.wall < 50*time.Millisecond {
		t.Errorf("sleep took %+v", spent)
	}
	own[0]++
	if _, err := costOf(nil, exec.Command("false"), 0); err == nil {
		t.Error("a command that fails is not noticed")
	}
}

// What a node has of objects that were overwritten makes up for nothing.
func TestHoldsAll(t *testing.T) {
	heads := map[uint32]uint64{1: 10, 2: 5}
	follow := func(group uint32, cursor, missing uint64) *pb.GroupFollow {
		return &pb.GroupFollow{Group: group, Cursor: cursor, Missing: missing}
	}
	for _, tt := range []struct {
		name   string
		groups []*pb.GroupFollow
		want   bool
	}{
		{"all", []*pb.GroupFollow{follow(1, 10, 0), follow(2, 5, 0)}, true},
		{"further than asked", []*pb.GroupFollow{follow(1, 12, 0)}, true},
		{"behind in one", []*pb.GroupFollow{follow(1, 10, 0), follow(2, 4, 0)}, false},
		{"one missing", []*pb.GroupFollow{follow(1, 10, 1)}, false},
		{"no groups yet", nil, false},
	} {
		if got := holdsAll(&pb.InfoResponse{Shards: 1000, Groups: tt.groups}, heads); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// A long run gives what it has, whatever fails, and ends when it is told to.
func TestAttempt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b := newBench(ctx, options{format: "json"})
	if err := b.attempt(ctx, "well", func() error { return nil }); err != nil || len(b.report.Failures) > 0 {
		t.Errorf("what went well: %v, %q", err, b.report.Failures)
	}
	if err := b.attempt(ctx, "ill", func() error { return errors.New("no disk") }); err != nil || !slices.Equal(b.report.Failures, []string{"ill: no disk"}) {
		t.Errorf("what failed: %v, %q", err, b.report.Failures)
	}
	cancel()
	if err := b.attempt(ctx, "late", func() error { return ctx.Err() }); !errors.Is(err, context.Canceled) {
		t.Errorf("what was ended: %v", err)
	}
	var out bytes.Buffer
	if err := b.finish(&out); err != nil {
		t.Fatal(err)
	}
	var r results.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || len(r.Failures) != 1 || r.Cores < 1 || r.Day == "" {
		t.Errorf("reported %s: %v", out.Bytes(), err)
	}
}
