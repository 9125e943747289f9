package storagenode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
)

// A Ledger counts the bytes used of each order limit, so that none is used for
// more than it says, also across restarts and kills of the process.
//
// Its file is a row of records of the same size, the newest for a serial counting.
// A record does not say what was used but up to where use was reserved, a step
// ahead: few writes are needed, and after a kill at most a step of the limit is
// lost. A record may be torn or damaged without harm to the others. Records are not
// synced: a power cut may give back what was used last, within the limit's hour.
type Ledger struct {
	now    func() time.Time
	logger *slog.Logger
	path   string

	mu      sync.Mutex
	file    *os.File
	records int64 // in the file, the damaged among them
	entries map[order.Serial]*entry
	uplinks map[ident.ID]int // how many of the entries each has
	sweepAt int              // number of entries at which expired ones are looked for
	swept   time.Time        // when they were last looked for
	failed  bool
}

// entry is what is known of one order limit.
type entry struct {
	uplink   ident.ID // zero for what was loaded
	expires  int64    // Unix seconds
	used     int64
	reserved int64 // what the file says; never less than used while it can be written
}

const (
	ledgerMagic  = "cairnledger1\n\x00\x00\x00"
	recordSize   = 16 + 8 + 8 + 4 // serial, expires, reserved, checksum
	maxEntries   = 1 << 18        // 40 MB of memory
	maxPerUplink = 1 << 10
	minSweep     = 1 << 10
	sweepPause   = 10 * time.Second
	minStep      = 1 << 20
	maxStep      = 64 << 20
	expiryMargin = int64(time.Hour / time.Second) // clocks are set back
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// OpenLedger opens the ledger in the file at path, making it if there is none.
func OpenLedger(path string, now func() time.Time, logger *slog.Logger) (*Ledger, error) {
	l := &Ledger{
		now: now, logger: logger, path: path, sweepAt: minSweep,
		entries: make(map[order.Serial]*entry), uplinks: make(map[ident.ID]int),
	}
	if err := l.load(); err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	if err := l.compact(); err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return l, nil
}

// Use takes n bytes of the limit. The error wraps order.ErrAmount if it has not so
// many left, and then nothing is taken.
func (l *Ledger) Use(limit *order.Limit, n int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[limit.Serial]
	if e == nil {
		if err := l.makeRoom(limit.Uplink); err != nil {
			return err
		}
		e = &entry{uplink: limit.Uplink, expires: limit.Expires.Unix()}
	}
	if err := limit.CheckAmount(e.used, n); err != nil {
		return err
	}
	if l.entries[limit.Serial] == nil {
		l.entries[limit.Serial] = e
		l.uplinks[e.uplink]++
	}
	e.used += n
	if e.used > e.reserved {
		l.reserve(limit.Serial, e, limit.MaxBytes)
	}
	return nil
}

var errLedgerFull = errors.New("too many order limits are in use")

// makeRoom bounds the memory, in all and for one uplink: satellites alone make
// serials, but they make as many as uplinks ask for.
func (l *Ledger) makeRoom(uplink ident.ID) error {
	if len(l.entries) < l.sweepAt && l.uplinks[uplink] < maxPerUplink {
		return nil
	}
	// Going through all of them for each of many new serials would be too slow.
	if l.now().Sub(l.swept).Abs() >= sweepPause {
		l.sweep()
	}
	if len(l.entries) >= maxEntries || l.uplinks[uplink] >= maxPerUplink {
		return errLedgerFull
	}
	return nil
}

// sweep forgets limits that have expired; using one is refused for that.
func (l *Ledger) sweep() {
	l.swept = l.now()
	dead := l.swept.Unix() - expiryMargin
	for serial, e := range l.entries {
		if e.expires < dead {
			l.drop(serial, e)
		}
	}
	l.sweepAt = min(maxEntries, max(minSweep, 2*len(l.entries)))
}

func (l *Ledger) drop(serial order.Serial, e *entry) {
	delete(l.entries, serial)
	if l.uplinks[e.uplink]--; l.uplinks[e.uplink] <= 0 {
		delete(l.uplinks, e.uplink)
	}
}

// reserve writes down that the entry may be used a step further. If that cannot be
// written, the count goes on in memory: a full disk should not keep readers out.
func (l *Ledger) reserve(serial order.Serial, e *entry, limit int64) {
	step := min(maxStep, max(minStep, limit/64))
	if limit-e.used > step {
		limit = e.used + step
	}
	if l.records > 2*int64(len(l.entries))+minSweep {
		e.reserved = limit
		l.sweep()
		l.warn(l.compact())
		return
	}
	err := l.append(serial, entry{expires: e.expires, reserved: limit})
	if err == nil {
		e.reserved = limit
	}
	l.warn(err)
}

// warn logs the first of the failures in a row.
func (l *Ledger) warn(err error) {
	if err != nil && !l.failed {
		l.logger.Warn("used bytes of order limits cannot be written down; they count until the next restart", "error", err)
	}
	l.failed = err != nil
}

// append writes a record behind the others. A failed write leaves the place free.
func (l *Ledger) append(serial order.Serial, e entry) error {
	var raw [recordSize]byte
	encodeRecord(raw[:], serial, e)
	if _, err := l.file.WriteAt(raw[:], int64(len(ledgerMagic))+l.records*recordSize); err != nil {
		return err
	}
	l.records++
	return nil
}

func encodeRecord(raw []byte, serial order.Serial, e entry) {
	copy(raw, serial[:])
	binary.BigEndian.PutUint64(raw[16:], uint64(e.expires))
	binary.BigEndian.PutUint64(raw[24:], uint64(e.reserved))
	binary.BigEndian.PutUint32(raw[32:], crc32.Checksum(raw[:32], castagnoli))
}

// decodeRecord reports false for a record that is damaged.
func decodeRecord(raw []byte) (serial order.Serial, e entry, ok bool) {
	if crc32.Checksum(raw[:32], castagnoli) != binary.BigEndian.Uint32(raw[32:]) {
		return serial, e, false
	}
	copy(serial[:], raw)
	e.expires = int64(binary.BigEndian.Uint64(raw[16:]))
	e.reserved = int64(binary.BigEndian.Uint64(raw[24:]))
	return serial, e, e.reserved >= 0
}

// load reads the file there is. All that was reserved counts as used.
func (l *Ledger) load() error {
	raw, err := os.ReadFile(l.path)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(raw) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if len(raw) < len(ledgerMagic) || string(raw[:len(ledgerMagic)]) != ledgerMagic {
		return fmt.Errorf("%s is no ledger of this version: move it away to start with an empty one", l.path)
	}
	damaged := 0
	for raw = raw[len(ledgerMagic):]; len(raw) >= recordSize; raw = raw[recordSize:] {
		serial, e, ok := decodeRecord(raw)
		if !ok {
			damaged++
			continue
		}
		e.used = e.reserved
		if known := l.entries[serial]; known == nil || known.used < e.used {
			l.entries[serial] = &e
		}
	}
	if damaged > 0 || len(raw) > 0 {
		l.logger.Warn("ledger of order limits has damaged records", "path", l.path, "records", damaged, "torn", len(raw))
	}
	l.sweep()
	return nil
}

// compact writes a new file with one record per entry and puts it in place of the
// old one.
func (l *Ledger) compact() error {
	file, err := os.OpenFile(l.path+".tmp", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := l.writeAll(file); err != nil {
		file.Close()
		return err
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.records = file, int64(len(l.entries))
	return nil
}

func (l *Ledger) writeAll(file *os.File) error {
	raw := make([]byte, 0, len(ledgerMagic)+len(l.entries)*recordSize)
	raw = append(raw, ledgerMagic...)
	for serial, e := range l.entries {
		raw = raw[:len(raw)+recordSize]
		encodeRecord(raw[len(raw)-recordSize:], serial, *e)
	}
	if _, err := file.Write(raw); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	return os.Rename(file.Name(), l.path)
}

// Close writes down what was used, to the byte.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	for _, e := range l.entries {
		e.reserved = e.used
	}
	l.sweep()
	err := l.compact()
	l.file.Close()
	l.file = nil
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}
