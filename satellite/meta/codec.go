package meta

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// decoder reads a value from its beginning. The first thing amiss sticks; done
// reports it, or bytes left over.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || n > 1 && d.b[n-1] == 0 { // only the shortest form is right
		d.bad = true
		d.b = nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

// number is a uvarint of at most limit.
func (d *decoder) number(limit uint64) uint64 {
	v := d.uvarint()
	if v > limit {
		d.bad = true
		return 0
	}
	return v
}

func (d *decoder) u32() uint32 { return uint32(d.number(math.MaxUint32)) }

// size is a number that fits int64.
func (d *decoder) size() int64 { return int64(d.number(math.MaxInt64)) }

// maxTime is far beyond any time of day, and survives package time.
const maxTime = 1 << 55

// seconds and micros are times since 1970; 0 is the zero time.
func (d *decoder) seconds() time.Time {
	if v := int64(d.number(maxTime)); v != 0 {
		return time.Unix(v, 0).UTC()
	}
	return time.Time{}
}

func (d *decoder) micros() time.Time {
	if v := int64(d.number(maxTime)); v != 0 {
		return time.UnixMicro(v).UTC()
	}
	return time.Time{}
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

// take returns the next n bytes, which stay part of the value.
func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.bad = true
		d.b = nil
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

// into fills a fixed number of bytes.
func (d *decoder) into(p []byte) { copy(p, d.take(uint64(len(p)))) }

// bytes is a length and as many bytes, which stay part of the value.
func (d *decoder) bytes() []byte {
	b := d.take(d.uvarint())
	if len(b) == 0 {
		return nil
	}
	return b
}

func (d *decoder) string() string { return string(d.bytes()) }

// count is the number of things that follow, each of at least least bytes.
func (d *decoder) count(least int) int {
	return int(d.number(uint64(len(d.b) / least)))
}

// rest is all that is left.
func (d *decoder) rest() []byte { return d.take(uint64(len(d.b))) }

func (d *decoder) done(what string) error {
	if d.bad || len(d.b) != 0 {
		return fmt.Errorf("%w: %s", ErrDamaged, what)
	}
	return nil
}

func putUvarint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }
func putBytes(b, v []byte) []byte          { return append(putUvarint(b, uint64(len(v))), v...) }
func putString(b []byte, v string) []byte  { return append(putUvarint(b, uint64(len(v))), v...) }

func putSeconds(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return putUvarint(b, 0)
	}
	return putUvarint(b, uint64(max(t.Unix(), 0)))
}

func putMicros(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return putUvarint(b, 0)
	}
	return putUvarint(b, uint64(max(t.UnixMicro(), 0)))
}
