package meta

import (
	"context"
	"errors"

	"github.com/cairnstorage/cairn/satellite/kv"
)

// nonceRecord is the result of a commit that named a nonce.
type nonceRecord struct {
	digest   [16]byte // of the request
	version  Version
	size     uint64
	segments uint64
}

func (n *nonceRecord) encode() []byte {
	b := append([]byte(nil), n.digest[:]...)
	b = u64(b, uint64(n.version))
	b = putUvarint(b, n.size)
	return putUvarint(b, n.segments)
}

func decodeNonce(v []byte) (nonceRecord, error) {
	var n nonceRecord
	var version [8]byte
	d := decoder{b: v}
	d.into(n.digest[:])
	d.into(version[:])
	n.version, _ = ParseVersion(version[:])
	n.size = d.uvarint()
	n.segments = d.number(MaxExtents)
	return n, d.done("nonce")
}

// manyRecord is the outcome of a commit of several objects that named a nonce.
type manyRecord struct {
	digest   [16]byte  // of the request
	outcomes []Outcome // version or error
}

// outcomes are what may stand against one object of several, by their codes in
// a manyRecord; code 0 is followed by a version.
var outcomes = [...]error{1: ErrBucketNotFound, 2: ErrObjectExists, 3: ErrObjectNotFound, 4: ErrChanged, 5: ErrTooMuch}

// outcomeCode is 0 for an error that concerns more than an object.
func outcomeCode(err error) byte {
	for code, known := range outcomes {
		if known != nil && errors.Is(err, known) {
			return byte(code)
		}
	}
	return 0
}

func (n *manyRecord) encode() []byte {
	b := append(make([]byte, 0, 24+9*len(n.outcomes)), n.digest[:]...)
	b = putUvarint(b, uint64(len(n.outcomes)))
	for i := range n.outcomes {
		o := &n.outcomes[i]
		code := outcomeCode(o.Err)
		if b = append(b, code); code == 0 {
			b = u64(b, uint64(o.Version))
		}
	}
	return b
}

func decodeMany(v []byte) (manyRecord, error) {
	var n manyRecord
	d := decoder{b: v}
	d.into(n.digest[:])
	n.outcomes = make([]Outcome, d.count(1))
	for i := range n.outcomes {
		switch code := d.byte(); {
		case code == 0:
			var version [8]byte
			d.into(version[:])
			n.outcomes[i].Version, _ = ParseVersion(version[:])
		case int(code) < len(outcomes):
			n.outcomes[i].Err = outcomes[code]
		default:
			d.bad = true
		}
	}
	return n, d.done("nonce of several objects")
}

// once makes a change in one transaction, and keeps its record under the nonce.
// If there is one already, the change was made before: repeat is given the
// record, and nothing changes. Without a nonce every time is the first.
func (s *Store) once(ctx context.Context, project ProjectNumber, nonce []byte, repeat func(record []byte) error, do func(*change) (record []byte, err error)) error {
	window := s.window()
	return s.kv.Update(ctx, func(tx kv.Tx) error {
		if len(nonce) > 0 {
			record, err := findNonce(tx, window, project, nonce)
			if err != nil {
				return err
			}
			if record != nil {
				return repeat(record)
			}
		}
		c := newChange(tx)
		record, err := do(c)
		if err != nil {
			return err
		}
		if len(nonce) > 0 {
			if err := tx.Set(nonceKey(window, project, nonce), record); err != nil {
				return err
			}
		}
		return c.flush()
	})
}
