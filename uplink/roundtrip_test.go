package uplink_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/uplink"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// Sizes at which something changes, with two stripes to a segment.
func TestRoundTripAtEveryBoundary(t *testing.T) {
	p := onNetwork(t)
	const k, stripes = 4, 2
	p.LimitSegments(stripes)
	stripe := k * seal.ChunkPlain
	segment := stripes * stripe
	for _, edge := range []int{0, seal.MaxInline, seal.ChunkPlain, stripe, segment, 3 * segment, 20 * segment} {
		for size := max(edge-1, 0); size <= edge+1; size++ {
			key := fmt.Sprintf("size/%d", size)
			data := noise(size)
			o := put(t, p, key, data)
			if o.Size != int64(size) {
				t.Errorf("%s has size %d", key, o.Size)
			}
			checkGet(t, p, key, data)
		}
	}
}

// An object of so many segments that the satellite is told of them, and tells
// where they are, in many calls.
func TestManySegments(t *testing.T) {
	_, p := startDoubles(t, erasure.Scheme{Required: 1, RepairBelow: 1, Success: 1, Total: 2})
	p.LimitSegments(1)
	data := noise(300*seal.ChunkPlain - 7)
	if o := put(t, p, "object", data); o.Segments != 300 {
		t.Errorf("the object has %d segments", o.Segments)
	}
	checkGet(t, p, "object", data)
	d, err := p.Download(context.Background(), bucket, "object", uplink.DownloadOptions{Offset: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for range 20 {
		from := rand.IntN(len(data) - 1000)
		got := make([]byte, min(300_000, len(data)-1000-from))
		if n, err := d.ReadAt(got, int64(from)); err != nil || !bytes.Equal(got, data[1000+from:][:n]) {
			t.Fatalf("ReadAt %d: %d bytes, %v", from, n, err)
		}
	}
}

// Segments of full size, the second of one byte.
func TestFullSegment(t *testing.T) {
	if testing.Short() {
		t.Skip("it moves much data")
	}
	p := onNetwork(t)
	data := noise(int(seal.MaxSegment(4)) + 1)
	if o := put(t, p, "object", data); o.Segments != 2 {
		t.Errorf("the object has %d segments", o.Segments)
	}
	checkGet(t, p, "object", data)
}
