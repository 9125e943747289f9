package shardstore

import (
	"sync"
	"testing"
)

// One sync serves all that wait, and both are counted.
func TestStats(t *testing.T) {
	s := openStore(t, testConfig(t))
	const shards = 40
	var putting sync.WaitGroup
	for i := range uint64(shards) {
		putting.Go(func() {
			if err := newSample(i, 4096).put(s); err != nil {
				t.Error(err)
			}
		})
	}
	putting.Wait()
	if err := newSample(0, 4096).put(s); err != nil { // held already
		t.Fatal(err)
	}
	if st := s.Stats(); st.Shards != shards || st.Syncs < 1 || st.Syncs > shards+1 {
		t.Errorf("%+v for %d shards", st, shards)
	}
}
