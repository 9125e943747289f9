package kvtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"testing"

	"github.com/cairnstorage/cairn/satellite/kv"
)

// testScanInUpdate: a scan shows what was written before it began, and goes on
// undisturbed while its own transaction writes.
func testScanInUpdate(t *testing.T, s kv.Store) {
	for _, key := range []string{"a", "c", "e"} {
		Put(t, s, key, "old")
	}
	must(t, s.Update(background, func(tx kv.Tx) error {
		if err := errors.Join(tx.Set([]byte("b"), nil), tx.Set([]byte("c"), []byte("new")), tx.Delete([]byte("e"))); err != nil {
			return err
		}
		wantKeys(t, tx, "", "", "a b c")
		seen := ""
		for p, err := range tx.Scan(nil, nil) {
			if err != nil {
				return err
			}
			seen += string(p.Key)
			next := append([]byte(nil), p.Key...)
			if err := errors.Join(tx.Set(append(next, 'x'), nil), tx.Delete([]byte("c"))); err != nil {
				return err
			}
		}
		if seen != "abc" {
			t.Errorf("scan saw %q while it was written to", seen)
		}
		wantKeys(t, tx, "", "", "a ax b bx cx")
		return nil
	}))
	must(t, s.View(background, func(r kv.Reader) error {
		wantKeys(t, r, "", "", "a ax b bx cx")
		return nil
	}))
}

func testOwnWrites(t *testing.T, s kv.Store) {
	Put(t, s, "kept", "old")
	must(t, s.Update(background, func(tx kv.Tx) error {
		if err := tx.Set([]byte("kept"), []byte("new")); err != nil {
			return err
		}
		wantGet(t, tx, "kept", "new")
		if err := tx.Delete([]byte("kept")); err != nil {
			return err
		}
		wantMissing(t, tx, "kept")
		wantKeys(t, tx, "", "", "")
		if err := tx.Set([]byte("kept"), []byte("newest")); err != nil {
			return err
		}
		wantGet(t, tx, "kept", "newest")
		return nil
	}))
	if got := Dump(t, s); !maps.Equal(got, map[string]string{"kept": "newest"}) {
		t.Errorf("store holds %q", got)
	}
}

// testFailedUpdate: an update that fails leaves nothing and its error comes
// back as it is.
func testFailedUpdate(t *testing.T, s kv.Store) {
	Put(t, s, "a", "1")
	cause := errors.New("cause")
	err := s.Update(background, func(tx kv.Tx) error {
		if err := errors.Join(tx.Set([]byte("a"), []byte("2")), tx.Set([]byte("b"), nil), tx.Delete([]byte("a"))); err != nil {
			return err
		}
		return fmt.Errorf("because: %w", cause)
	})
	if !errors.Is(err, cause) {
		t.Errorf("Update returned %v", err)
	}
	if err := s.View(background, func(kv.Reader) error { return cause }); !errors.Is(err, cause) {
		t.Errorf("View returned %v", err)
	}
	if got := Dump(t, s); !maps.Equal(got, map[string]string{"a": "1"}) {
		t.Errorf("store holds %q", got)
	}
}

func testPanickingUpdate(t *testing.T, s kv.Store) {
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic did not reach the caller")
			}
		}()
		_ = s.Update(background, func(tx kv.Tx) error {
			_ = tx.Set([]byte("a"), nil)
			panic("caller's bug")
		})
	}()
	Put(t, s, "b", "")
	if got := Dump(t, s); !maps.Equal(got, map[string]string{"b": ""}) {
		t.Errorf("store holds %q", got)
	}
}

// testSnapshot: a view does not change under its reader.
func testSnapshot(t *testing.T, s kv.Store) {
	Put(t, s, "a", "1")
	Put(t, s, "b", "1")
	must(t, s.View(background, func(r kv.Reader) error {
		wantGet(t, r, "a", "1")
		for i := range 20 {
			Put(t, s, "a", strconv.Itoa(i))
			Put(t, s, "new"+strconv.Itoa(i), "")
		}
		must(t, s.Update(background, func(tx kv.Tx) error { return tx.Delete([]byte("b")) }))
		wantGet(t, r, "a", "1")
		wantGet(t, r, "b", "1")
		wantKeys(t, r, "", "", "a b")
		return nil
	}))
	must(t, s.View(background, func(r kv.Reader) error {
		wantGet(t, r, "a", "19")
		wantMissing(t, r, "b")
		return nil
	}))
}

func testCancelled(t *testing.T, s kv.Store) {
	ctx, cancel := context.WithCancel(background)
	cancel()
	err := s.Update(ctx, func(tx kv.Tx) error { return tx.Set([]byte("a"), nil) })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Update: %v", err)
	}
	if err := s.View(ctx, func(kv.Reader) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("View: %v", err)
	}
	// An update that waits for its turn can be called off.
	ctx, cancel = context.WithCancel(background)
	must(t, s.Update(background, func(tx kv.Tx) error {
		waiting := make(chan error)
		go func() {
			waiting <- s.Update(ctx, func(tx kv.Tx) error { return tx.Set([]byte("a"), nil) })
		}()
		cancel()
		if err := <-waiting; !errors.Is(err, context.Canceled) {
			t.Errorf("waiting Update: %v", err)
		}
		return nil
	}))
	if n := len(Dump(t, s)); n != 0 {
		t.Errorf("cancelled updates left %d keys", n)
	}
}

// testCounter: no increment is lost among concurrent ones, and each sees those
// that were acknowledged before.
func testCounter(t *testing.T, s kv.Store) {
	const writers, each = 8, 50
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				err := s.Update(background, func(tx kv.Tx) error {
					n, err := number(tx, "n")
					if err != nil {
						return err
					}
					return tx.Set([]byte("n"), []byte(strconv.Itoa(n+1)))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := Dump(t, s)["n"]; got != strconv.Itoa(writers*each) {
		t.Errorf("counter = %s, want %d", got, writers*each)
	}
}

func number(r kv.Reader, key string) (int, error) {
	value, err := r.Get([]byte(key))
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(value))
}

// testWriteSkew: of two updates that each read what the other writes, one sees
// the other's write.
func testWriteSkew(t *testing.T, s kv.Store) {
	for i := range 50 {
		prefix := fmt.Sprintf("%02d/", i)
		var wg sync.WaitGroup
		for _, who := range []string{"a", "b"} {
			wg.Go(func() {
				err := s.Update(background, func(tx kv.Tx) error {
					on := 0
					for _, err := range tx.Scan([]byte(prefix), kv.PrefixEnd([]byte(prefix))) {
						if err != nil {
							return err
						}
						on++
					}
					if on > 0 {
						return nil
					}
					return tx.Set([]byte(prefix+who), nil)
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if n := len(Dump(t, s)); n != 50 {
		t.Errorf("%d of 50 rounds' exclusive keys were written", n)
	}
}

// testTransfers: every view sees the invariant that every update keeps.
func testTransfers(t *testing.T, s kv.Store) {
	const accounts, total = 5, 500
	for i := range accounts {
		Put(t, s, "account"+strconv.Itoa(i), strconv.Itoa(total/accounts))
	}
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range 40 {
				from, to := "account"+strconv.Itoa((w+i)%accounts), "account"+strconv.Itoa((w+i*3+1)%accounts)
				if err := transfer(s, from, to); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			for {
				sum := 0
				err := s.View(background, func(r kv.Reader) error {
					for p, err := range r.Scan(nil, nil) {
						if err != nil {
							return err
						}
						n, _ := strconv.Atoi(string(p.Value))
						sum += n
					}
					return nil
				})
				if err != nil || sum != total {
					t.Errorf("a view sums up to %d, %v, want %d", sum, err, total)
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
}

func transfer(s kv.Store, from, to string) error {
	return s.Update(background, func(tx kv.Tx) error {
		a, err := number(tx, from)
		if err != nil || from == to || a == 0 {
			return err
		}
		b, err := number(tx, to)
		if err != nil {
			return err
		}
		return errors.Join(
			tx.Set([]byte(from), []byte(strconv.Itoa(a-1))),
			tx.Set([]byte(to), []byte(strconv.Itoa(b+1))))
	})
}

func testClosed(t *testing.T, s kv.Store) {
	Put(t, s, "a", "")
	must(t, s.Close())
	if err := s.View(background, func(kv.Reader) error { return nil }); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("View: %v", err)
	}
	if err := s.Update(background, func(kv.Tx) error { return nil }); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("Update: %v", err)
	}
}
