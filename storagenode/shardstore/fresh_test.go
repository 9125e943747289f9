package shardstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/dgraph-io/badger/v4"
)

func stagedEntry(n int) entry {
	e := entry{place: place{volume: 1, offset: int64(n+1) * pageSize, reserved: 1000, slots: 10}}
	e.Key = Key{Group: uint32(n % 3)}
	e.Segment[0], e.Segment[1], e.Root[0] = byte(n), byte(n>>8), byte(n)
	e.Layout = erasure.Layout{Required: 4, Total: 10, Size: 4096}
	e.Created = time.Unix(int64(1000+n%7), 0)
	return e
}

// TestFreshModel does to an index what a store does and to a map what that comes
// to: nobody can tell what Badger has from what it is yet to be given.
func TestFreshModel(t *testing.T) {
	x := newIndex(t, t.TempDir())
	defer x.close()
	x.spare = 200 // so that filters are made now and then
	x.learn()
	want := make(map[Key]entry)
	random := rand.New(rand.NewPCG(1, 2))
	for step := range 6000 {
		e := stagedEntry(random.IntN(1500))
		have, held := want[e.Key]
		var err error
		switch what := random.IntN(100); {
		case !held:
			err, want[e.Key] = x.enter(e), e
		case what < 30 && !have.Live:
			have.Seq = uint64(step + 1)
			err = x.supersede(func(txn *badger.Txn, inBadger func(Key) bool) error {
				return confirmEntry(txn, have, inBadger(have.Key))
			}, []entry{have})
			have.Live = true
			want[e.Key] = have
		case what < 50:
			err = x.supersede(func(txn *badger.Txn, _ func(Key) bool) error { return deleteEntry(txn, have) }, []entry{have})
			delete(want, e.Key)
		case what == 99:
			err = x.flush()
		}
		if err != nil {
			t.Fatal(err)
		}
		checkKey(t, x, stagedEntry(random.IntN(1500)).Key, want)
		if step%500 == 499 {
			checkScan(t, x, want)
		}
	}
}

func checkKey(t *testing.T, x *index, key Key, want map[Key]entry) {
	t.Helper()
	e, ok, err := x.get(key)
	if w, held := want[key]; err != nil || ok != held || e != w {
		t.Fatalf("get: %+v %v %v, want %+v", e, ok, err, w)
	}
	looked, m, err := x.look(key)
	if err != nil || m != nil || (looked != nil) != ok || ok && *looked != e {
		t.Fatalf("look: %+v, mark %v, %v, want %+v", looked, m, err, e)
	}
}

// checkScan compares all entries, and which are among the staged ones by age.
func checkScan(t *testing.T, x *index, want map[Key]entry) {
	t.Helper()
	got, staged := make(map[Key]entry), 0
	err := x.view(func(txn *badger.Txn) error {
		err := scan(txn, []byte{keyShard}, func(raw, value []byte) error {
			var e entry
			err := e.read(raw, value)
			got[e.Key] = e
			return err
		})
		return errors.Join(err, scan(txn, []byte{keyStaged}, func(raw, _ []byte) error {
			key, err := decodeKey(raw[9:])
			if w, ok := want[key]; !ok || w.Live || string(raw) != string(stagedKey(w.Created, key)) {
				return fmt.Errorf("%v is among the staged shards", key)
			}
			staged++
			return err
		}))
	})
	if err != nil {
		t.Fatal(err)
	}
	for key, w := range want {
		if got[key] != w {
			t.Fatalf("scan: %+v, want %+v", got[key], w)
		}
		staged -= btoi(!w.Live)
	}
	if len(got) != len(want) || staged != 0 {
		t.Fatalf("%d entries, want %d; %d staged ones too many", len(got), len(want), staged)
	}
}

// Badger is given nothing for which the disk may have no room, and no more
// entries wait for that than may.
func TestFreshOnFullDisk(t *testing.T) {
	for _, size := range []int64{1000, freshBytes/3 - 8*pageSize} {
		x := newIndex(t, t.TempDir())
		t.Cleanup(func() { x.close() })
		x.room = func() error { return ErrFull }
		entered := 0
		for ; ; entered++ {
			e := stagedEntry(entered)
			e.reserved = size
			err := x.enter(e)
			if errors.Is(err, ErrFull) {
				if _, ok, err := x.get(e.Key); ok || err != nil {
					t.Errorf("what was refused is there: %v %v", ok, err)
				}
				break
			}
			if err != nil || entered > freshMost {
				t.Fatalf("after %d entries: %v", entered, err)
			}
		}
		if most := min(freshMost, int(freshBytes/size)); entered != most {
			t.Errorf("%d entries of %d bytes were taken, want %d", entered, size, most)
		}
		nothing := func(*badger.Txn) error { return nil }
		if err := x.view(nothing); !errors.Is(err, ErrFull) {
			t.Errorf("view: %v", err)
		}
		if err := x.sync(); !errors.Is(err, ErrFull) {
			t.Errorf("sync: %v", err)
		}
		x.room = func() error { return nil }
		if err := x.view(nothing); err != nil || len(x.fresh.entries) != 0 || x.fresh.bytes != 0 {
			t.Errorf("with room again: %v, %d entries of %d bytes are left", err, len(x.fresh.entries), x.fresh.bytes)
		}
	}
}
