// Package kv is the ordered, transactional key-value store under a satellite's
// metadata. It is small enough that an embedded engine and a distributed
// database can both keep its promises; package kvtest checks that they do.
package kv

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// Errors that every engine returns, perhaps wrapped.
var (
	// ErrNotFound: there is no such key.
	ErrNotFound = errors.New("kv: key not found")
	// ErrFull: the disk has only its reserve left, so writes are refused and
	// reads go on. Free space, and writing works again.
	ErrFull = errors.New("kv: no disk space left beyond the reserve")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("kv: store is closed")
	// ErrTooBig: the key, the value or the whole transaction exceeds a limit
	// of this package. Split the work.
	ErrTooBig = errors.New("kv: key, value or transaction too big")
	// ErrDamaged: what is on disk is not what was acknowledged, and the engine
	// cannot make up for it. Restore from a backup.
	ErrDamaged = errors.New("kv: store is damaged")
	// ErrBroken: an earlier write failed in a way that leaves open what is on
	// disk. Restart the process; opening the store decides.
	ErrBroken = errors.New("kv: store needs a restart after a failed write")
)

var errEmptyKey = errors.New("kv: the key is empty")

// Limits that every engine shares, in bytes. Callers may rely on anything
// below them.
const (
	MaxKey   = 16 << 10
	MaxValue = 512 << 10
	MaxTx    = 8 << 20 // keys and values written in one Update
)

// Pair is one key with its value. Both are valid until the next step of the
// iteration that yields it and must not be changed; copy what is kept.
type Pair struct {
	Key, Value []byte
}

// Reader reads one consistent state of the store. It is valid within the
// function it was given to, and for one goroutine.
type Reader interface {
	// Get returns a copy of the value of key, or ErrNotFound.
	Get(key []byte) ([]byte, error)
	// Scan yields the pairs with start ≤ key < end in ascending order of
	// bytes; an empty end means to the last key. An error ends the scan.
	Scan(start, end []byte) iter.Seq2[Pair, error]
}

// Tx reads and writes. Its reads see its own writes; a Scan sees those made
// before it began, and writing during a Scan is allowed.
type Tx interface {
	Reader
	// Set stores a copy of value under a copy of key. An empty key is refused.
	Set(key, value []byte) error
	// Delete removes key; removing what is not there is no error.
	Delete(key []byte) error
}

// Store is an ordered key-value store with serializable transactions.
type Store interface {
	// View runs fn on a consistent state that holds every update acknowledged
	// before View was called. It returns fn's error.
	View(ctx context.Context, fn func(Reader) error) error
	// Update runs fn and makes what it wrote visible and durable, all or
	// nothing, before it returns nil. When fn fails nothing is written and its
	// error is returned. fn may run more than once, so it must not have side
	// effects or call Update itself, and it should be quick: others wait for
	// it. An answer may rest only on what is durable, so Update waits for
	// that even when fn wrote nothing or failed. When ctx ends
	// while the result is being written, Update still waits for the result.
	Update(ctx context.Context, fn func(Tx) error) error
	// Close waits for updates under way and releases the store.
	Close() error
}

// CheckSet returns the error that Tx.Set owes its caller for a key or value
// out of bounds.
func CheckSet(key, value []byte) error {
	if len(value) > MaxValue {
		return fmt.Errorf("%w: value of %d bytes, at most %d", ErrTooBig, len(value), MaxValue)
	}
	return CheckKey(key)
}

// CheckKey returns the error that Tx owes its caller for a key out of bounds.
func CheckKey(key []byte) error {
	switch {
	case len(key) == 0:
		return errEmptyKey
	case len(key) > MaxKey:
		return fmt.Errorf("%w: key of %d bytes, at most %d", ErrTooBig, len(key), MaxKey)
	}
	return nil
}

// PrefixEnd returns the least key greater than all keys that begin with
// prefix, or nil (no end) when there is none. Scan(p, PrefixEnd(p)) yields all
// keys with prefix p.
func PrefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			end := append([]byte(nil), prefix[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}
