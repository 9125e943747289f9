package badgerkv

import (
	"bytes"
	"errors"
	"fmt"
	"iter"

	"github.com/dgraph-io/badger/v4"

	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/kv/internal/tree"
)

// reader reads what is applied, as of one record.
type reader struct {
	engine *engine
	at     uint64
	txn    *badger.Txn // begun at the first read
}

func (r *reader) begin() *badger.Txn {
	if r.txn == nil {
		r.txn = r.engine.db.NewTransactionAt(r.at, false)
	}
	return r.txn
}

func (r *reader) close() {
	if r.txn != nil {
		r.txn.Discard()
	}
}

// Get implements kv.Reader.
func (r *reader) Get(key []byte) ([]byte, error) {
	if len(key) == 0 {
		return nil, kv.ErrNotFound
	}
	item, err := r.begin().Get(userKey(key))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, kv.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("badgerkv: reading: %w", err)
	}
	value, err := item.ValueCopy(nil)
	if err != nil {
		return nil, fmt.Errorf("badgerkv: reading: %w", err)
	}
	if value == nil {
		value = []byte{}
	}
	return value, nil
}

// Scan implements kv.Reader.
func (r *reader) Scan(start, end []byte) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		c := r.cursor(start, end)
		defer c.close()
		for c.valid() {
			if !yield(c.pair()) {
				return
			}
			c.next()
		}
	}
}

// cursor steps through Badger's keys in [start, end).
type cursor struct {
	it  *badger.Iterator
	end []byte
}

func (r *reader) cursor(start, end []byte) *cursor {
	from := userKey(start)
	to := []byte{userPrefix + 1}
	if len(end) > 0 {
		to = userKey(end)
	}
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false // they stand beside the keys
	o.Prefix = commonPrefix(from, to)
	it := r.begin().NewIterator(o)
	it.Seek(from)
	return &cursor{it, to}
}

func (c *cursor) valid() bool {
	return c.it.Valid() && bytes.Compare(c.it.Item().Key(), c.end) < 0
}

func (c *cursor) key() []byte { return c.it.Item().Key()[1:] }
func (c *cursor) next()       { c.it.Next() }
func (c *cursor) close()      { c.it.Close() }

// pair returns the present pair, valid until next.
func (c *cursor) pair() (p kv.Pair, err error) {
	p.Key = c.key()
	err = c.it.Item().Value(func(v []byte) error {
		p.Value = v
		return nil
	})
	if err != nil {
		return kv.Pair{}, fmt.Errorf("badgerkv: reading: %w", err)
	}
	return p, nil
}

func commonPrefix(a, b []byte) []byte {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return a[:n:n]
}

// tx is an update's transaction: what is applied, and over it what the batches
// under way and the update itself write.
type tx struct {
	reader
	base   tree.Map[pendingWrite] // the view that it began with
	view   tree.Map[pendingWrite]
	update *update
	writes writes
	size   int
}

// Get implements kv.Tx.
func (t *tx) Get(key []byte) ([]byte, error) {
	w, ok := t.view.Get(key)
	switch {
	case !ok:
		return t.reader.Get(key)
	case w.value == nil:
		return nil, kv.ErrNotFound
	}
	return append(make([]byte, 0, len(w.value)), w.value...), nil
}

// Scan implements kv.Tx by merging the pending writes with what is applied.
func (t *tx) Scan(start, end []byte) iter.Seq2[kv.Pair, error] {
	view := t.view
	return func(yield func(kv.Pair, error) bool) {
		c := t.reader.cursor(start, end)
		defer c.close()
		// applied yields what comes before key; a nil key means all.
		applied := func(key []byte) bool {
			for c.valid() && (key == nil || bytes.Compare(c.key(), key) < 0) {
				if !yield(c.pair()) {
					return false
				}
				c.next()
			}
			return true
		}
		for key, w := range view.Scan(start, end) {
			if !applied(key) {
				return
			}
			if c.valid() && bytes.Equal(c.key(), key) {
				c.next() // overwritten
			}
			if w.value != nil && !yield(kv.Pair{Key: key, Value: w.value}, nil) {
				return
			}
		}
		applied(nil)
	}
}

// Set implements kv.Tx.
func (t *tx) Set(key, value []byte) error {
	if err := kv.CheckSet(key, value); err != nil {
		return err
	}
	return t.write(key, append(make([]byte, 0, len(value)), value...))
}

// Delete implements kv.Tx.
func (t *tx) Delete(key []byte) error {
	if err := kv.CheckKey(key); err != nil {
		return err
	}
	return t.write(key, nil)
}

func (t *tx) write(key, value []byte) error {
	t.size += len(key) + len(value)
	if t.size > kv.MaxTx {
		return fmt.Errorf("%w: more than %d bytes in one update", kv.ErrTooBig, kv.MaxTx)
	}
	key = bytes.Clone(key)
	t.view = t.view.Set(key, pendingWrite{value, t.update})
	t.writes[string(key)] = value
	return nil
}
