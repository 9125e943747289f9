package uplink_test

import (
	"fmt"
	"testing"

	"github.com/cairnstorage/cairn/deploy/localnet/network"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// Sizes at which something changes, with two stripes to a segment.
func TestRoundTripAtEveryBoundary(t *testing.T) {
	_, p := startNetwork(t, network.Config{})
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
