package main

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/cairnstorage/cairn/proto/pb"
)

func TestSizes(t *testing.T) {
	for _, total := range []int64{0, 1, 5000, 1 << 20, 100 << 20, 1 << 30} {
		var sum int64
		for _, size := range sizes(total) {
			if size < 1 || size > 64<<20 {
				t.Errorf("%d: an object of %d bytes", total, size)
			}
			sum += size
		}
		if sum > total || sum < total-3 {
			t.Errorf("%d bytes are split into %d", total, sum)
		}
	}
	if !slices.Equal(sizes(9<<20), sizes(9<<20)) {
		t.Error("sizes differ from time to time")
	}
}

func TestContentFollowsFromItsKey(t *testing.T) {
	read := func(key string, size int64) []byte {
		data, err := io.ReadAll(content(key, size))
		if err != nil || int64(len(data)) != size {
			t.Fatalf("%d bytes, %v", len(data), err)
		}
		return data
	}
	long := read("a", 1000)
	if !bytes.Equal(long[:10], read("a", 10)) || bytes.Equal(long[:10], read("b", 10)) {
		t.Error("content does not follow from the key alone")
	}
	if !bytes.Equal(long, read("b"+copyOf+"c"+copyOf+"a", 1000)) {
		t.Error("a copy of a copy has other content")
	}
}

// What is on disks tells whether a network is whole, not what anybody says.
func TestViewCountsWhatIsMissing(t *testing.T) {
	group := func(segments uint64, nodes ...string) *pb.GroupInfo {
		g := &pb.GroupInfo{Segments: segments}
		for _, id := range nodes {
			g.Nodes = append(g.Nodes, []byte(id))
		}
		return g
	}
	for _, tt := range []struct {
		name    string
		groups  []*pb.GroupInfo
		shards  []uint64 // of the nodes a, b, c
		vacant  int
		missing uint64
		whole   bool
	}{
		{"no groups", nil, []uint64{0, 0, 0}, 0, 0, false},
		{"an empty one", []*pb.GroupInfo{group(0, "a", "b")}, []uint64{0, 0, 0}, 0, 0, true},
		{"whole", []*pb.GroupInfo{group(5, "a", "b"), group(2, "b", "c")}, []uint64{5, 7, 2}, 0, 0, true},
		{"one shard lacks", []*pb.GroupInfo{group(5, "a", "b"), group(2, "b", "c")}, []uint64{5, 6, 2}, 0, 1, false},
		{"what one has too much is none of the other's", []*pb.GroupInfo{group(5, "a", "b")}, []uint64{9, 4, 0}, 0, 1, false},
		{"a holder is dead", []*pb.GroupInfo{group(5, "a", "d")}, []uint64{5, 0, 0}, 1, 0, false},
	} {
		v := &view{groups: tt.groups, infos: make(map[int]*pb.InfoResponse), nodes: make(map[string]int)}
		for i, n := range tt.shards {
			v.nodes[string(rune('a'+i))] = i
			v.infos[i] = &pb.InfoResponse{Shards: n + 3, Staged: 3}
		}
		v.compare()
		if v.vacant != tt.vacant || v.missing != tt.missing || v.whole() != tt.whole {
			t.Errorf("%s: %v, whole %v", tt.name, v, v.whole())
		}
	}
}

// Who left a group has to have been replaced in what it held; what is stored
// meanwhile is another matter.
func TestViewCountsSlotsThatHoldAll(t *testing.T) {
	follow := func(missing uint64) *pb.InfoResponse {
		return &pb.InfoResponse{Groups: []*pb.GroupFollow{{Group: 1, Missing: missing}}}
	}
	for _, tt := range []struct {
		name    string
		then    uint64 // segments; 10 now
		missing []uint64
		want    int
	}{
		{"all", 10, []uint64{0, 0, 0}, 3},
		{"one lacks", 10, []uint64{0, 1, 0}, 2},
		{"new ones are missing", 7, []uint64{3, 1, 2}, 3},
		{"old ones are, too", 7, []uint64{3, 1, 4}, 2},
		{"some were deleted", 12, []uint64{0, 1, 0}, 2},
		{"a holder that does not run", 7, []uint64{0, 0}, 2},
	} {
		g := &pb.GroupInfo{Group: 1, Segments: 10, Nodes: [][]byte{{0}, {1}, {2}}}
		v := &view{groups: []*pb.GroupInfo{g}, infos: make(map[int]*pb.InfoResponse), nodes: make(map[string]int)}
		for i, missing := range tt.missing {
			v.infos[i], v.nodes[string(g.Nodes[i])] = follow(missing), i
		}
		if got := v.covered(map[uint32]uint64{1: tt.then}); got != tt.want {
			t.Errorf("%s: %d slots, not %d", tt.name, got, tt.want)
		}
	}
}

func TestReportFails(t *testing.T) {
	r := newReport("test")
	r.must(true, "good", 1, "", "1")
	r.must(false, "bad", 1.25, "s", "≤ 1")
	r.end(nil)
	var out strings.Builder
	if err := r.print(&out, "text"); err != nil {
		t.Fatal(err)
	}
	if r.Passed || len(r.Failures) != 1 || !strings.Contains(out.String(), "bad: 1.25 s, must be ≤ 1") {
		t.Errorf("%+v\n%s", r, out.String())
	}
	r = newReport("test")
	r.must(true, "good", 1, "", "1")
	if r.end(nil); !r.Passed {
		t.Error("nothing failed and the report does not say so")
	}
}
