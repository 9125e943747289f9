package shardstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/cairnstorage/cairn/storagenode/internal/durable"
)

// A volume is one append-only file of records. Space in it is never used
// twice: what is deleted becomes a hole, and a volume with nothing left is
// removed.
type volume struct {
	number uint32
	file   *os.File

	// Guarded by the directory's lock.
	end     int64             // where the next record begins
	room    int64             // where the zeros end that lie behind end, if any do
	sealed  bool              // takes no more records
	records int               // committed or being written
	writing map[int64]int64   // offset → reserved bytes of records being written
	gaps    map[int64]int64   // offset of a record of which nothing is written → where the gap before it begins
	readers map[int64]*reader // offset → who reads there

	syncMu  sync.Mutex
	waiting []*commit // for the next sync
	led     bool      // one of them leads: see await

	flush sync.Mutex // held during a sync
	lost  error      // guarded by flush: why a sync failed
}

// A reader counts the open shards at one place, so that what is deleted is
// punched only after the last of them is closed.
type reader struct {
	count int
	gone  *place // deleted meanwhile
}

const volumesDir = "volumes"

func volumePath(dir string, number uint32) string {
	return filepath.Join(dir, volumesDir, fmt.Sprintf("%08d.vol", number))
}

// listVolumes gives the numbers of the volumes in a data directory, in order.
func listVolumes(dir string) ([]uint32, error) {
	files, err := os.ReadDir(filepath.Join(dir, volumesDir))
	if err != nil {
		return nil, err
	}
	var numbers []uint32
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), ".vol")
		if n, err := strconv.ParseUint(name, 10, 32); ok && err == nil {
			numbers = append(numbers, uint32(n))
		}
	}
	return numbers, nil // ReadDir sorts, and names are as long as each other
}

func newVolume(number uint32, f *os.File) *volume {
	return &volume{
		number:  number,
		file:    f,
		writing: make(map[int64]int64),
		gaps:    make(map[int64]int64),
		readers: make(map[int64]*reader),
	}
}

// createVolume makes a new volume, durably.
func createVolume(dir string, d identity, number uint32) (*volume, error) {
	path := volumePath(dir, number)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteAt(encodeVolumeHeader(d, number), 0)
	if err == nil {
		err = errors.Join(f.Sync(), durable.SyncDir(filepath.Dir(path)))
	}
	if err != nil {
		f.Close()
		os.Remove(path)
		return nil, err
	}
	v := newVolume(number, f)
	v.end = pageSize
	return v, nil
}

// openVolume opens a volume that exists.
func openVolume(dir string, number uint32) (*volume, error) {
	f, err := os.OpenFile(volumePath(dir, number), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	v := newVolume(number, f)
	v.end = max(roundUp(st.Size(), pageSize), pageSize)
	return v, nil
}

// checkVolumeHeader reads the first page of a volume and returns errFormat if
// it is damaged, errForeign if the volume is not that of the directory d that
// its name says. A volume without a byte was being made when a crash came.
func checkVolumeHeader(f io.ReaderAt, d identity, number uint32) error {
	id, n, err := readVolumeHeader(f)
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	case id != d || n != number:
		return errForeign
	}
	return nil
}

var errForeign = errors.New("it belongs to another data directory or has another's name: move it away")

// readVolumeHeader reads the first page of a volume. It returns io.EOF for an
// empty one.
func readVolumeHeader(f io.ReaderAt) (identity, uint32, error) {
	b := make([]byte, volumeHeaderSize)
	n, err := f.ReadAt(b, 0)
	if n == 0 || err != nil && !errors.Is(err, io.EOF) {
		return identity{}, 0, err
	}
	return decodeVolumeHeader(b[:n])
}

// oldestWrite is the lowest offset at which a record is being written, or the
// volume's end. The caller holds the directory's lock.
func (v *volume) oldestWrite() int64 {
	oldest := v.end
	for offset := range v.writing {
		oldest = min(oldest, offset)
	}
	return oldest
}

// queue adds c to those that the next sync serves.
func (v *volume) queue(c *commit) {
	v.syncMu.Lock()
	defer v.syncMu.Unlock()
	v.waiting = append(v.waiting, c)
	c.queued = true
}

// await returns once c, which was queued, is done. Of those that wait one
// leads: it syncs for all that came before the sync began and gives what became
// of it to finish. Those who came later are served by the next, which begins as
// soon as the last has ended, while finish runs. So nothing waits for a timer, nor
// for another goroutine to start, and none is woken but to lead or because it is
// done.
func (v *volume) await(c *commit, finish func(batch []*commit, err error)) {
	if v.leads(c) {
		batch := v.batch()
		err := v.sync()
		v.handOver()
		finish(batch, err)
	}
	<-c.done
}

// leads reports whether it is for c to lead. It waits for that or for a sync by
// another that serves c.
func (v *volume) leads(c *commit) bool {
	v.syncMu.Lock()
	if c.queued && v.led {
		c.awaited = true
		v.syncMu.Unlock()
		_, lead := <-c.done
		return lead
	}
	lead := c.queued
	v.led = v.led || lead
	v.syncMu.Unlock()
	if lead {
		// Those that can run may have shards for the same sync, and would lack
		// this processor for a while.
		runtime.Gosched()
	}
	return lead
}

// handOver has one of those lead that wait by now. One that was queued but is not
// awaited yet may have to see to something else before.
func (v *volume) handOver() {
	v.syncMu.Lock()
	defer v.syncMu.Unlock()
	for _, c := range v.waiting {
		if c.awaited {
			c.done <- struct{}{}
			return
		}
	}
	v.led = false
}

// batch takes all that wait.
func (v *volume) batch() []*commit {
	v.syncMu.Lock()
	defer v.syncMu.Unlock()
	batch := v.waiting
	v.waiting = nil
	for _, c := range batch {
		c.queued = false
	}
	return batch
}

// sync makes what was written to the volume durable. The kernel tells of a
// failure once and then forgets what it could not write: after one, no sync
// succeeds any more.
func (v *volume) sync() error {
	v.flush.Lock()
	defer v.flush.Unlock()
	if v.lost == nil {
		v.lost = dataSync(v.file)
	}
	return v.lost
}
