package satellite

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// TestSettle: after a start, writes wait for the nodes to agree with the journals.
func TestSettle(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	s := start(t, testConfig(dir))
	must(t, s.ready(ctx)) // nothing to lose yet
	keys := newKeys(t, 10)
	s.formGroups(keys)
	must(t, second(s.meta.AddTrouble(ctx, 1, 6, "so that the journal has entries")))
	must(t, s.meta.ClearTrouble(ctx))
	s.stop()

	waits := func(what string) {
		t.Helper()
		short, cancel := context.WithCancel(ctx)
		cancel()
		wantError(t, what, s.ready(short), satclient.ErrUnavailable)
	}
	c := testConfig(dir)
	c.CheckIn = time.Hour
	s = start(t, c)
	waits("no node came")
	for i, key := range keys {
		n, news := s.newNode(key), checkInOf(roomy)
		if i == 0 {
			news.Cursors = []*pb.Cursor{{Group: 1, Epoch: 1, Seq: 8}}
			must(t, second(n.CheckIn(ctx, news)))
			waits("a node was ahead")
		}
		waits("a node is missing")
		news.Cursors = []*pb.Cursor{{Group: 1, Epoch: 1, Seq: 7}}
		must(t, second(n.CheckIn(ctx, news)))
	}
	must(t, s.ready(ctx))
	s.stop()

	c.CheckIn = 100 * time.Millisecond
	s = start(t, c) // nodes that do not come are not waited for long
	must(t, s.ready(ctx))
	s.stop()

	s = start(t, testConfig(dir))
	must(t, second(s.meta.AddTrouble(ctx, 1, 100, "lost")))
	all, err := s.meta.Trouble(ctx)
	must(t, err)
	s.trouble.Store(all)
	if err := s.ready(ctx); !errors.Is(err, satclient.ErrRefusing) {
		t.Errorf("in trouble: %v", err)
	}
}
