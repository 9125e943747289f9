package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/cairnstorage/cairn/satellite/kv"
)

var background = context.Background()

func testEmpty(t *testing.T, s kv.Store) {
	must(t, s.View(background, func(r kv.Reader) error {
		wantMissing(t, r, "a")
		wantMissing(t, r, "")
		wantKeys(t, r, "", "", "")
		return nil
	}))
	must(t, s.Update(background, func(tx kv.Tx) error {
		wantMissing(t, tx, "a")
		wantKeys(t, tx, "", "", "")
		return tx.Delete([]byte("a"))
	}))
}

func testSetGetDelete(t *testing.T, s kv.Store) {
	Put(t, s, "a", "1")
	Put(t, s, "b", "2")
	Put(t, s, "a", "3")
	Put(t, s, "empty", "")
	must(t, s.Update(background, func(tx kv.Tx) error { return tx.Delete([]byte("b")) }))
	must(t, s.View(background, func(r kv.Reader) error {
		wantGet(t, r, "a", "3")
		wantGet(t, r, "empty", "")
		wantMissing(t, r, "b")
		wantKeys(t, r, "", "", "a empty")
		return nil
	}))
	Put(t, s, "b", "again")
	if got := Dump(t, s)["b"]; got != "again" {
		t.Errorf("a key set after its deletion = %q", got)
	}
}

// testCopies: neither side's later changes to its memory show on the other.
func testCopies(t *testing.T, s kv.Store) {
	key, value := []byte("key"), []byte("value")
	must(t, s.Update(background, func(tx kv.Tx) error {
		if err := tx.Set(key, value); err != nil {
			return err
		}
		copy(key, "xxx")
		copy(value, "xxxxx")
		got, err := tx.Get([]byte("key"))
		copy(got, "yyyyy")
		wantGet(t, tx, "key", "value")
		return err
	}))
	must(t, s.View(background, func(r kv.Reader) error {
		got, err := r.Get([]byte("key"))
		copy(got, "zzzzz")
		wantGet(t, r, "key", "value")
		return err
	}))
	if got := Dump(t, s); !maps.Equal(got, map[string]string{"key": "value"}) {
		t.Errorf("store holds %q", got)
	}
}

// testAwkwardKeys: every byte string is a key like any other.
func testAwkwardKeys(t *testing.T, s kv.Store) {
	want := make(map[string]string)
	for _, key := range []string{
		"\x00", "\x00\x00", "\xff", "\xff\xff", "\xff\x00", "!badger!txn", "!badger!", "k", "m", " ", "/",
		"a\x00b", "a", "aa", "\x7f", "\x80", strings.Repeat("\xff", 64), strings.Repeat("long", 300),
	} {
		Put(t, s, key, "value of "+key)
		want[key] = "value of " + key
	}
	if got := Dump(t, s); !maps.Equal(got, want) {
		t.Errorf("store holds %q", got)
	}
	must(t, s.View(background, func(r kv.Reader) error {
		for key, value := range want {
			wantGet(t, r, key, value)
		}
		return nil
	}))
}

func testLimits(t *testing.T, s kv.Store) {
	set := func(key, value int) error {
		return s.Update(background, func(tx kv.Tx) error {
			return tx.Set(bytes.Repeat([]byte("k"), key), make([]byte, value))
		})
	}
	must(t, set(kv.MaxKey, 1))
	must(t, set(1, kv.MaxValue))
	if err := set(kv.MaxKey+1, 1); !errors.Is(err, kv.ErrTooBig) {
		t.Errorf("a key too long: %v", err)
	}
	if err := set(1, kv.MaxValue+1); !errors.Is(err, kv.ErrTooBig) {
		t.Errorf("a value too long: %v", err)
	}
	if err := set(0, 1); err == nil {
		t.Error("the empty key was taken")
	}
	err := s.Update(background, func(tx kv.Tx) error { return tx.Delete(nil) })
	if err == nil {
		t.Error("the empty key was deleted")
	}
	if n := len(Dump(t, s)); n != 2 {
		t.Errorf("store holds %d keys, want 2", n)
	}
}

// testLargeTransaction writes as much as one update may, and a little more.
func testLargeTransaction(t *testing.T, s kv.Store) {
	value := bytes.Repeat([]byte("v"), 1000)
	write := func(n int) error {
		return s.Update(background, func(tx kv.Tx) error {
			for i := range n {
				if err := tx.Set(fmt.Appendf(nil, "%08d", i), value); err != nil {
					return err
				}
			}
			return nil
		})
	}
	fits := kv.MaxTx / 1008
	if err := write(fits + 1); !errors.Is(err, kv.ErrTooBig) {
		t.Errorf("an update too big: %v", err)
	}
	if n := len(Dump(t, s)); n != 0 {
		t.Fatalf("it left %d keys", n)
	}
	must(t, write(fits))
	if n := len(Dump(t, s)); n != fits {
		t.Errorf("store holds %d keys, want %d", n, fits)
	}
	must(t, s.Update(background, func(tx kv.Tx) error { // many small deletions
		for i := range fits {
			if err := tx.Delete(fmt.Appendf(nil, "%08d", i)); err != nil {
				return err
			}
		}
		return nil
	}))
	if n := len(Dump(t, s)); n != 0 {
		t.Errorf("store holds %d keys after deletion", n)
	}
}

func testScanBounds(t *testing.T, s kv.Store) {
	for _, key := range []string{"a", "b", "ba", "bb", "c", "\xff"} {
		Put(t, s, key, "")
	}
	check := func(t *testing.T, r kv.Reader) {
		for _, tt := range []struct{ start, end, want string }{
			{"", "", "a b ba bb c \xff"},
			{"a", "", "a b ba bb c \xff"},
			{"a\x00", "", "b ba bb c \xff"},
			{"b", "c", "b ba bb"},
			{"b", "b", ""},
			{"b", "b\x00", "b"},
			{"b", "bb", "b ba"},
			{"c", "b", ""},
			{"", "a", ""},
			{"", "b", "a"},
			{"bb", "\xff", "bb c"},
			{"\xff", "", "\xff"},
			{"\xff\x00", "", ""},
			{"b", string(kv.PrefixEnd([]byte("b"))), "b ba bb"},
			{"\xff", string(kv.PrefixEnd([]byte("\xff"))), "\xff"},
		} {
			wantKeys(t, r, tt.start, tt.end, tt.want)
		}
	}
	must(t, s.View(background, func(r kv.Reader) error { check(t, r); return nil }))
	must(t, s.Update(background, func(tx kv.Tx) error {
		check(t, tx)
		return tx.Set([]byte("b"), []byte("rewritten"))
	}))
}

func testScanStops(t *testing.T, s kv.Store) {
	for i := range 50 {
		Put(t, s, fmt.Sprintf("%02d", i), "x")
	}
	check := func(r kv.Reader) error {
		n := 0
		for p, err := range r.Scan([]byte("10"), nil) {
			if err != nil {
				return err
			}
			// A scan within a scan, and a Get within both.
			for q, err := range r.Scan(p.Key, nil) {
				if err != nil || !bytes.Equal(q.Key, p.Key) {
					t.Errorf("inner scan from %q begins at %q: %v", p.Key, q.Key, err)
				}
				break
			}
			wantGet(t, r, string(p.Key), "x")
			if n++; n == 7 {
				break
			}
		}
		if n != 7 {
			t.Errorf("scan yielded %d keys before it was stopped", n)
		}
		return nil
	}
	must(t, s.View(background, check))
	must(t, s.Update(background, func(tx kv.Tx) error {
		if err := tx.Set([]byte("99"), []byte("x")); err != nil {
			return err
		}
		return check(tx)
	}))
}
