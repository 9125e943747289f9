package satellite

import (
	"bytes"
	"context"
	"crypto/rand"
	"testing"

	"google.golang.org/grpc/metadata"

	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// TestKeyring shows that keys once found valid are known without the store, and
// that nothing else is.
func TestKeyring(t *testing.T) {
	b := newBench(t)
	second, secondKey := b.newProject("second")
	var keys keyring
	carrying := func(key []byte) context.Context {
		return metadata.NewIncomingContext(t.Context(), metadata.Pairs(satclient.APIKeyHeader, string(key)))
	}
	open := func(name string, key []byte, store *meta.Store, want meta.ProjectNumber, refused error) {
		t.Helper()
		got, err := keys.project(carrying(key), store)
		wantError(t, name, err, refused)
		if err == nil && got != want {
			t.Errorf("%s opens project %d instead of %d", name, got, want)
		}
	}
	changed := bytes.Clone(b.apiKey)
	changed[len(changed)-1]++
	for range 2 {
		open("a changed key", changed, b.meta, 0, satclient.ErrDenied)
		open("the first project's key", b.apiKey, b.meta, b.project.Number, nil)
		open("the second project's key", secondKey, b.meta, second.Number, nil)
	}
	open("a key known without the store", b.apiKey, nil, b.project.Number, nil)
	if len(keys.known) != 2 {
		t.Errorf("%d keys are known instead of 2", len(keys.known))
	}
	for range 2*keyringSize - 2 {
		var hash [32]byte
		rand.Read(hash[:])
		keys.remember(hash, 1)
	}
	if n := len(keys.known); n != keyringSize {
		t.Errorf("%d keys are known, of %d that may be", n, keyringSize)
	}
	open("a forgotten key", b.apiKey, b.meta, b.project.Number, nil)
}
