// Package kvtest checks that a storage engine keeps the promises of package kv.
package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/cairnstorage/cairn/satellite/kv"
)

// Run runs the suite. open returns a new, empty store at each call; the suite
// closes it.
func Run(t *testing.T, open func(t *testing.T) kv.Store) {
	tests := []struct {
		name string
		test func(*testing.T, kv.Store)
	}{
		{"Empty", testEmpty},
		{"SetGetDelete", testSetGetDelete},
		{"Copies", testCopies},
		{"AwkwardKeys", testAwkwardKeys},
		{"Limits", testLimits},
		{"LargeTransaction", testLargeTransaction},
		{"ScanBounds", testScanBounds},
		{"ScanStops", testScanStops},
		{"ScanInUpdate", testScanInUpdate},
		{"OwnWrites", testOwnWrites},
		{"FailedUpdate", testFailedUpdate},
		{"PanickingUpdate", testPanickingUpdate},
		{"Snapshot", testSnapshot},
		{"Cancelled", testCancelled},
		{"Counter", testCounter},
		{"WriteSkew", testWriteSkew},
		{"Transfers", testTransfers},
		{"Model", testModel},
		{"Closed", testClosed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t)
			tt.test(t, s)
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Put sets one key in an update of its own.
func Put(t *testing.T, s kv.Store, key, value string) {
	t.Helper()
	must(t, s.Update(context.Background(), func(tx kv.Tx) error {
		return tx.Set([]byte(key), []byte(value))
	}))
}

// Dump returns all that a store holds.
func Dump(t *testing.T, s kv.Store) map[string]string {
	t.Helper()
	var all map[string]string
	must(t, s.View(context.Background(), func(r kv.Reader) (err error) {
		all, err = dump(r)
		return err
	}))
	return all
}

func dump(r kv.Reader) (map[string]string, error) {
	all := make(map[string]string)
	var last []byte
	for p, err := range r.Scan(nil, nil) {
		if err != nil {
			return nil, err
		}
		if last != nil && bytes.Compare(last, p.Key) >= 0 {
			return nil, fmt.Errorf("key %q after %q", p.Key, last)
		}
		last = bytes.Clone(p.Key)
		all[string(p.Key)] = string(p.Value)
	}
	return all, nil
}

// keys returns the keys of a scan, joined by spaces.
func keys(r kv.Reader, start, end string) (string, error) {
	var b bytes.Buffer
	for p, err := range r.Scan([]byte(start), []byte(end)) {
		if err != nil {
			return "", err
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.Write(p.Key)
	}
	return b.String(), nil
}

func wantKeys(t *testing.T, r kv.Reader, start, end, want string) {
	t.Helper()
	got, err := keys(r, start, end)
	if err != nil || got != want {
		t.Errorf("Scan(%q, %q) = %q, %v, want %q", start, end, got, err, want)
	}
}

func wantGet(t *testing.T, r kv.Reader, key, want string) {
	t.Helper()
	got, err := r.Get([]byte(key))
	if err != nil || string(got) != want {
		t.Errorf("Get(%q) = %q, %v, want %q", key, got, err, want)
	}
}

func wantMissing(t *testing.T, r kv.Reader, key string) {
	t.Helper()
	if got, err := r.Get([]byte(key)); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("Get(%q) = %q, %v, want ErrNotFound", key, got, err)
	}
}
