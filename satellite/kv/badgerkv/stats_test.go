package badgerkv_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/kv/badgerkv"
)

func TestStats(t *testing.T) {
	c := config(t.TempDir())
	free := int64(1 << 40)
	var asked error
	c.Free = func(string) (int64, int64, error) { return free, 1 << 40, asked }
	s, err := badgerkv.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	stats := func() kv.Stats {
		t.Helper()
		st, err := s.Stats()
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	before := stats()
	const updates, size = 40, 1000
	var writing sync.WaitGroup
	for i := range updates {
		writing.Go(func() {
			if err := s.Update(t.Context(), func(tx kv.Tx) error { return tx.Set([]byte{'k', byte(i)}, make([]byte, size)) }); err != nil {
				t.Error(err)
			}
		})
	}
	writing.Wait()
	// What writes nothing, or fails, is not counted.
	if err := s.Update(t.Context(), func(kv.Tx) error { return nil }); err != nil {
		t.Error(err)
	}
	if err := s.Update(t.Context(), func(tx kv.Tx) error {
		return errors.Join(tx.Set([]byte("no"), bytes.Repeat([]byte("no"), 100)), errors.New("refused"))
	}); err == nil {
		t.Error("a failed update is done")
	}
	after := stats()
	if got := after.Updates - before.Updates; got != updates {
		t.Errorf("%d updates, want %d", got, updates)
	}
	if got := after.Bytes - before.Bytes; got != updates*(size+2) {
		t.Errorf("%d bytes, want %d", got, updates*(size+2))
	}
	if got := after.Batches - before.Batches; got < 1 || got > updates {
		t.Errorf("%d batches of %d updates", got, updates)
	}
	if after.Syncing <= before.Syncing {
		t.Error("syncing took no time")
	}

	free -= 1 << 30
	if got := before.Free - stats().Free; got != 1<<30 {
		t.Errorf("%d bytes less are free, want %d", got, 1<<30)
	}
	if free = 1; stats().Free != 0 {
		t.Errorf("on a full disk %d bytes are free", stats().Free)
	}
	asked = errors.New("disk is away")
	if _, err := s.Stats(); !errors.Is(err, asked) {
		t.Errorf("error %v", err)
	}
}
