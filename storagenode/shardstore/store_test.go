package shardstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/cairnstorage/cairn/proto/merkle"
)

// check reads a shard back and proves a part of it.
func (s sample) check(st *Store) error {
	h, err := st.Open(s.meta.Key)
	if err != nil {
		return err
	}
	defer h.Close()
	got := make([]byte, len(s.data)+10)
	n, err := h.ReadAt(got, 0)
	if err != io.EOF || !bytes.Equal(got[:n], s.data) {
		return errors.Join(errors.New("other bytes were read"), err)
	}
	m, err := h.Meta()
	if err != nil {
		return err
	}
	if m.Root != s.meta.Root || m.Slot != s.meta.Slot || m.Layout != s.meta.Layout || m.Key != s.meta.Key {
		return errors.New("other metadata was read")
	}
	last := merkle.LeafCount(int64(len(s.data))) - 1
	proof, leaves, err := h.Prove(last, 1)
	if err != nil {
		return err
	}
	return merkle.VerifyProof(m.Root, m.Layout, m.Slot, last, 1, leaves, proof)
}

func TestPutAndGet(t *testing.T) {
	cfg := testConfig(t)
	s := openStore(t, cfg)
	var samples []sample
	for i, size := range []int{64, 4096 - 64, 4096, 4096 + 64, 65536 - 64, 65536, 65536 + 64, 1 << 20, 3<<20 + 4096} {
		one := newSample(uint64(i), size)
		if err := one.put(s); err != nil {
			t.Fatalf("put %d bytes: %v", size, err)
		}
		samples = append(samples, one)
	}
	for _, again := range []string{"before", "after"} {
		for _, one := range samples {
			if err := one.check(s); err != nil {
				t.Errorf("%s a restart: shard of %d bytes: %v", again, len(one.data), err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, cfg)
	}
	u := s.Usage()
	if u.Shards != len(samples) || u.Staged != len(samples) {
		t.Errorf("usage: %+v", u)
	}
	if _, err := s.Open(newSample(99, 64).meta.Key); !errors.Is(err, ErrNotFound) {
		t.Errorf("open what was never put: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	s := openStore(t, testConfig(t))
	one := newSample(1, 8192)
	commit := func(change func(*Meta), data []byte) error {
		w, err := s.Create(context.Background(), one.meta.Key, 8192, 10)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Abort()
		if _, err := w.Write(data); err != nil {
			return err
		}
		m := one.meta
		m.ShardRoots = append([]merkle.Hash(nil), m.ShardRoots...)
		change(&m)
		_, err = w.Commit(context.Background(), m)
		return err
	}
	same := func(*Meta) {}
	flipped := bytes.Clone(one.data)
	flipped[5000] ^= 1
	for name, tt := range map[string]struct {
		change func(*Meta)
		data   []byte
		want   error
	}{
		"flipped bit":       {same, flipped, ErrMismatch},
		"too short":         {same, one.data[:4096], ErrMismatch},
		"too long":          {same, append(bytes.Clone(one.data), 1), ErrTooLong},
		"other slot":        {func(m *Meta) { m.Slot++ }, one.data, ErrMismatch},
		"no such slot":      {func(m *Meta) { m.Slot = 10 }, one.data, ErrMismatch},
		"other root":        {func(m *Meta) { m.Root[0] ^= 1 }, one.data, ErrMismatch},
		"other shard roots": {func(m *Meta) { m.ShardRoots[9][0] ^= 1 }, one.data, ErrMismatch},
		"too few roots":     {func(m *Meta) { m.ShardRoots = m.ShardRoots[:9] }, one.data, ErrMismatch},
		"other key":         {func(m *Meta) { m.Group++ }, one.data, ErrMismatch},
		"bad layout":        {func(m *Meta) { m.Layout.Size++ }, one.data, ErrMismatch},
		"more slots":        {func(m *Meta) { m.Layout.Total++ }, one.data, ErrMismatch},
	} {
		if err := commit(tt.change, tt.data); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if u := s.Usage(); u.Shards != 0 || u.Used != 0 || s.dirs[0].taken() != 0 {
		t.Errorf("refused shards left something: %+v", u)
	}
	if err := commit(same, one.data); err != nil {
		t.Fatal(err)
	}
	if err := commit(same, one.data); err != nil {
		t.Errorf("a repeat is not harmless: %v", err)
	}
	if err := one.check(s); err != nil {
		t.Error(err)
	}
	other := sampleOf(1, flipped, 4, 10)
	if err := other.put(s); !errors.Is(err, ErrMismatch) {
		t.Errorf("another shard under the same key: %v", err)
	}
}
