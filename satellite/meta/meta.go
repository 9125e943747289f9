// Package meta is a satellite's memory: projects, buckets, objects, uploads in
// progress, segments with their reference counts, placement groups with their
// journals, and nodes. It holds the rules that keep these consistent, over any
// engine of package kv; it knows no network and verifies no signature.
//
// A segment is live as long as an extent of an object or of an upload in
// progress refers to it. It enters its group's journal with the first
// reference, and the transaction that takes the last one writes the tombstone.
package meta

import (
	"context"
	"crypto/rand"
	"io"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/satellite/kv"
)

// Config is what a Store needs besides its engine.
type Config struct {
	// Satellite is the identity whose store this is; a store made by another
	// is refused.
	Satellite ident.ID
	// UploadTTL is how long an upload lives after it was last added to; 0
	// stands for 24 h.
	UploadTTL time.Duration
	// NonceTTL is how long a repeated commit is recognised, at least; 0 stands
	// for 1 h.
	NonceTTL time.Duration
	Now      func() time.Time // nil: time.Now
	Rand     io.Reader        // nil: crypto/rand
}

// Store is the domain layer over one kv.Store. It is safe for concurrent use,
// also by several processes on one distributed engine.
type Store struct {
	kv        kv.Store
	uploadTTL time.Duration
	nonceTTL  time.Duration
	now       func() time.Time
	rand      io.Reader
}

// Open checks that store is empty or was made for this satellite, and readies
// it. The caller keeps the right and duty to close the engine. Errors:
// ErrOtherSatellite, ErrFormat.
func Open(ctx context.Context, store kv.Store, c Config) (*Store, error) {
	s := &Store{kv: store, uploadTTL: c.UploadTTL, nonceTTL: c.NonceTTL, now: c.Now, rand: c.Rand}
	if s.uploadTTL <= 0 {
		s.uploadTTL = 24 * time.Hour
	}
	if s.nonceTTL <= 0 {
		s.nonceTTL = time.Hour
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.rand == nil {
		s.rand = rand.Reader
	}
	return s, s.claim(ctx, c.Satellite)
}
