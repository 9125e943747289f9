package shardstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cairnstorage/cairn/storagenode/internal/durable"
	"github.com/dgraph-io/badger/v4"
)

// A Fault is a kind of damage to a data directory.
type Fault string

// The faults there are.
const (
	FaultIdentity  Fault = "identity"  // the identity file is missing or damaged
	FaultIndex     Fault = "index"     // the index is missing or damaged
	FaultVolume    Fault = "volume"    // a volume's header is damaged, or it is another's
	FaultJunk      Fault = "junk"      // bytes that are no record: what was there is lost
	FaultFooter    Fault = "footer"    // a record without a sound footer
	FaultData      Fault = "data"      // a shard's bytes are not those that were stored
	FaultUnindexed Fault = "unindexed" // a sound shard that the index does not have
	FaultDuplicate Fault = "duplicate" // a shard that is there twice
	FaultEntry     Fault = "entry"     // index and volume say different things of a shard
	FaultLost      Fault = "lost"      // the index has a shard of which nothing is there
)

// Damage is one finding of Fsck or RebuildIndex.
type Damage struct {
	Fault  Fault
	Volume uint32 // 0: none in particular
	Offset int64  // in the volume
	Key    Key    // zero: no shard in particular
	Detail string
}

// String is a line for the operator.
func (d Damage) String() string {
	s := string(d.Fault)
	if d.Volume != 0 {
		s += fmt.Sprintf(" in volume %d at %d", d.Volume, d.Offset)
	}
	if !d.Key.Segment.IsZero() {
		s += fmt.Sprintf(", shard of segment %s, group %d", d.Key.Segment, d.Key.Group)
	}
	return s + ": " + d.Detail
}

// A Report sums up what Fsck or RebuildIndex has found.
type Report struct {
	Volumes int
	Shards  int   // sound ones that the index has
	Live    int   // of those, confirmed by a journal
	Bytes   int64 // in the sound shards
	Pending int   // records that the next start will take up or give back
	Damages int
}

// A checker walks over a data directory.
type checker struct {
	path     string
	id       identity
	index    *index
	punched  map[[2]int64]bool // volume, offset: deleted, perhaps not punched yet
	seen     map[[2]int64]bool // volume, offset: records that the index has
	refused  []place           // records that a rebuild did not take up
	cpVolume uint32
	cpOffset int64
	buf      []byte
	report   Report
	found    func(Damage)
}

func newChecker(path string, found func(Damage)) *checker {
	return &checker{
		path:    path,
		punched: make(map[[2]int64]bool),
		seen:    make(map[[2]int64]bool),
		buf:     make([]byte, 1<<20),
		found:   found,
	}
}

func (c *checker) damage(d Damage) {
	c.report.Damages++
	c.found(d)
}

// Fsck checks all of a data directory that no process uses: every byte of
// every shard, and that index and volumes agree. It changes nothing. Errors
// other than those found to be Damage end it.
func Fsck(ctx context.Context, dir string, found func(Damage)) (Report, error) {
	lock, err := durable.LockQuietly(dir)
	if err != nil {
		return Report{}, err
	}
	if lock != nil {
		defer lock.Close()
	}
	c := newChecker(dir, found)
	numbers, err := c.identify()
	if err != nil {
		return c.report, err
	}
	clean, err := c.openIndex(len(numbers) == 0)
	if err != nil {
		return c.report, err
	}
	defer clean()
	for _, n := range numbers {
		if err := c.walkVolume(ctx, n, c.checkRecord); err != nil {
			return c.report, err
		}
	}
	return c.report, c.checkEntries(ctx)
}

// identify finds out who the directory is: by its identity file, or else by
// any of its volumes.
func (c *checker) identify() ([]uint32, error) {
	numbers, err := listVolumes(c.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	c.report.Volumes = len(numbers)
	c.id, err = readIdentity(c.path)
	if err == nil {
		return numbers, nil
	}
	if errors.Is(err, fs.ErrNotExist) && len(numbers) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrLost, c.path)
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errFormat) {
		return nil, err
	}
	c.damage(Damage{Fault: FaultIdentity, Detail: err.Error()})
	for _, n := range numbers {
		f, err := os.Open(volumePath(c.path, n))
		if err != nil {
			return nil, err
		}
		id, _, err := readVolumeHeader(f)
		f.Close()
		if err == nil {
			c.id = id
			return numbers, nil
		}
	}
	return nil, fmt.Errorf("%w: neither %s nor any volume says which store this is", ErrCorrupt, identityFile)
}

// openIndex opens the index to read it: itself, or, after an unclean stop,
// when Badger would have to repair it, a copy. What is wrong with it is noted.
func (c *checker) openIndex(mayBeMissing bool) (clean func(), err error) {
	clean = func() {}
	path := filepath.Join(c.path, indexDir)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if !mayBeMissing {
			c.damage(Damage{Fault: FaultIndex, Detail: "it is missing"})
		}
		return clean, nil
	}
	x, err := openIndex(path, true)
	if err != nil {
		temp, tempErr := copyIndex(path)
		if tempErr != nil {
			return clean, tempErr
		}
		clean = func() { os.RemoveAll(temp) }
		if x, err = openIndex(temp, false); err != nil {
			c.damage(Damage{Fault: FaultIndex, Detail: err.Error()})
			return clean, nil
		}
	}
	remove := clean
	clean = func() { x.close(); remove() }
	c.index = x
	if err := c.readIndex(mayBeMissing); err != nil {
		c.damage(Damage{Fault: FaultIndex, Detail: err.Error()})
		c.index = nil
	}
	return clean, nil
}

// copyIndex copies an index to a temporary directory.
func copyIndex(path string) (string, error) {
	temp, err := os.MkdirTemp("", "cairn-index-")
	if err != nil {
		return "", err
	}
	if err := os.CopyFS(temp, os.DirFS(path)); err != nil {
		os.RemoveAll(temp)
		return "", fmt.Errorf("copy the index to read it: %w", err)
	}
	return temp, nil
}

// readIndex reads what the index says of itself.
func (c *checker) readIndex(isNew bool) (err error) {
	if err := c.index.matches(c.id); err != nil && !(isNew && errors.Is(err, errNoIdentity)) {
		return err
	}
	if c.cpVolume, c.cpOffset, err = c.index.checkpoint(); err != nil {
		return err
	}
	return c.index.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{keyPunch}, func(key, _ []byte) error {
			volume, offset, err := decodePlace(key[1:])
			c.punched[[2]int64{int64(volume), offset}] = true
			return err
		})
	})
}

// walkVolume gives every record of a volume to each, and notes what is none.
func (c *checker) walkVolume(ctx context.Context, number uint32, each func(*os.File, *record) error) error {
	f, err := os.Open(volumePath(c.path, number))
	if err != nil {
		return err
	}
	defer f.Close()
	switch err := checkVolumeHeader(f, c.id, number); {
	case errors.Is(err, errFormat):
		c.damage(Damage{Fault: FaultVolume, Volume: number, Detail: err.Error()})
	case errors.Is(err, errForeign):
		c.damage(Damage{Fault: FaultVolume, Volume: number, Detail: err.Error()})
		return nil
	case err != nil:
		return err
	}
	return scanVolume(ctx, f, c.id, number, 0, func(rec *record) error {
		return each(f, rec)
	}, func(offset, length int64) error {
		c.damage(Damage{Fault: FaultJunk, Volume: number, Offset: offset, Detail: fmt.Sprintf("%d bytes are no record", length)})
		return nil
	})
}

// checkRecord checks one record, its shard, and what the index says of it.
func (c *checker) checkRecord(f *os.File, rec *record) error {
	at := [2]int64{int64(rec.volume), rec.offset}
	if c.punched[at] {
		c.report.Pending++
		return nil
	}
	var known entry
	var err error
	has := false
	if c.index != nil {
		known, has, err = c.index.get(rec.key)
		if err != nil && !errors.Is(err, errFormat) { // checkEntries tells of those
			return err
		}
	}
	here := has && known.place == rec.place
	if here {
		c.seen[at] = true
	} else if c.isBehindCheckpoint(rec.place) {
		c.report.Pending++
		return nil
	}
	d := Damage{Volume: rec.volume, Offset: rec.offset, Key: rec.key}
	if d.Fault, d.Detail, err = c.judge(f, rec, known, has, here); err != nil {
		return err
	}
	if d.Fault != "" {
		c.damage(d)
	} else if here {
		c.report.Shards++
		c.report.Bytes += known.Size()
		if known.Live {
			c.report.Live++
		}
	}
	return nil
}

func (c *checker) isBehindCheckpoint(p place) bool {
	return c.index != nil && (p.volume > c.cpVolume || p.volume == c.cpVolume && p.offset >= c.cpOffset)
}

// judge says what is wrong with a record, if anything is. known is what the
// index has of its shard, if it has it; here says whether it means this record.
func (c *checker) judge(f *os.File, rec *record, known entry, has, here bool) (Fault, string, error) {
	if rec.meta == nil {
		return FaultFooter, rec.why.Error(), nil
	}
	err := verifyData(f, rec, c.buf)
	switch {
	case errors.Is(err, ErrCorrupt):
		return FaultData, err.Error(), nil
	case err != nil:
		return "", "", err
	case c.index == nil: // that was noted already
	case !has:
		return FaultUnindexed, "the index does not have it: rebuild the index", nil
	case !here:
		return FaultDuplicate, fmt.Sprintf("the index has it in volume %d at %d", known.volume, known.offset), nil
	case known.Root != rec.meta.Root || known.Layout != rec.meta.Layout || known.Slot != rec.meta.Slot:
		return FaultEntry, "index and volume disagree: rebuild the index", nil
	}
	return "", "", nil
}

// checkEntries finds what the index has and the volumes do not.
func (c *checker) checkEntries(ctx context.Context) error {
	if c.index == nil {
		return nil
	}
	err := c.index.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{keyShard}, func(key, value []byte) error {
			k, err := decodeKey(key[1:])
			if err != nil {
				return err
			}
			var e entry
			if err := e.decode(k, value); err != nil {
				c.damage(Damage{Fault: FaultEntry, Key: k, Detail: err.Error()})
				return nil
			}
			if !c.seen[[2]int64{int64(e.volume), e.offset}] {
				c.damage(Damage{Fault: FaultLost, Volume: e.volume, Offset: e.offset, Key: k, Detail: "the index has it, but there is no record"})
			}
			return ctx.Err()
		})
	})
	if err != nil && ctx.Err() == nil {
		c.damage(Damage{Fault: FaultIndex, Detail: err.Error()})
		return nil
	}
	return err
}
