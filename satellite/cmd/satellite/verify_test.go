package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cairnstorage/cairn/proto/pb"
)

func TestVerify(t *testing.T) {
	dir := serve(t)
	c := &console{t: t}
	if out := c.ok("verify", "--dir", dir, "--prove", "all"); !strings.Contains(out, "differences  0") {
		t.Errorf("nothing differs: %q", out)
	}
	var out verifyOut
	if err := json.Unmarshal([]byte(c.ok("verify", "--dir", dir, "--prove", "3", "-o", "json")), &out); err != nil || out.Differences == nil {
		t.Errorf("nothing differs: %+v, %v", out, err)
	}
	for _, prove := range []string{"0", "-1", "some", "70000"} {
		c.fails("use all, or the number", "verify", "--dir", dir, "--prove", prove)
	}
	c.fails("at most 1000", "verify", "--dir", dir, "--prove", "1001")
	c.fails("no satellite is running", "verify", "--dir", t.TempDir())
}

func TestPrintVerify(t *testing.T) {
	out := newVerifyOut(&pb.VerifyEvent{Slots: 7, Shards: 5, Differences: []*pb.Difference{
		{Kind: pb.DifferenceKind_DIFFERENCE_KIND_ABSENT, Node: make([]byte, 3), Group: 9, Slot: 4, Segment: []byte("0123456789abcdef"), Seq: 11, Detail: "gone"},
		{Kind: pb.DifferenceKind_DIFFERENCE_KIND_UNREACHABLE, Group: 8, Detail: "offline"},
	}})
	var text strings.Builder
	printVerify(&text, out)
	for _, words := range []string{"differences\t2", "absent\t9\t4\t000000\t11\t30313233343536373839616263646566\tgone", "unreachable\t8\t0"} {
		if !strings.Contains(text.String(), words) {
			t.Errorf("%q is not in %q", words, text.String())
		}
	}
}
