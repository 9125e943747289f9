package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/uplink"
)

const bucket = "ordeal"

var errWrong = errors.New("came back with other bytes")

// copyOf parts the name of a copy from the key that it is a copy of.
const copyOf = "/of/"

// content is what the object of a key holds: bytes drawn from the key, or from
// that of which it is a copy.
func content(key string, size int64) io.Reader {
	if at := strings.LastIndex(key, copyOf); at >= 0 {
		key = key[at+len(copyOf):]
	}
	return io.LimitReader(rand.NewChaCha8(sha256.Sum256([]byte(key))), size)
}

func put(ctx context.Context, project *uplink.Project, key string, size int64) error {
	upload, err := project.Upload(ctx, bucket, key, uplink.UploadOptions{Size: size})
	if err != nil {
		return err
	}
	if _, err := io.CopyBuffer(onlyWriter{upload}, content(key, size), make([]byte, 256<<10)); err != nil {
		upload.Abort()
		return err
	}
	_, err = upload.Commit(ctx)
	return err
}

// onlyWriter hides that an upload can do more, so that the buffer is used.
type onlyWriter struct{ io.Writer }

// get reads an object to its end and compares it: errWrong if it differs.
func get(ctx context.Context, project *uplink.Project, key string, size int64) error {
	download, err := project.Download(ctx, bucket, key, uplink.DownloadOptions{})
	if err != nil {
		return err
	}
	defer download.Close()
	wanted := content(key, size)
	got, want := make([]byte, 256<<10), make([]byte, 256<<10)
	for {
		n, err := download.Read(got)
		if _, short := io.ReadFull(wanted, want[:n]); short != nil || !bytes.Equal(got[:n], want[:n]) {
			return fmt.Errorf("%s: %w", key, errWrong)
		}
		switch {
		case err == io.EOF:
			if n, _ := io.ReadFull(wanted, want[:1]); n > 0 {
				return fmt.Errorf("%s is cut off: %w", key, errWrong)
			}
			return nil
		case err != nil:
			return fmt.Errorf("read %s: %w", key, err)
		}
	}
}

// A ledger remembers what was acknowledged, to hold the network to it.
type ledger struct {
	mu      sync.Mutex
	objects map[string]int64 // that are there, with their size
	deleted map[string]bool  // that are not, any more
	unsure  map[string]int64 // whose upload or delete was not answered
}

func newLedger() *ledger {
	return &ledger{objects: make(map[string]int64), deleted: make(map[string]bool), unsure: make(map[string]int64)}
}

// put uploads an object and notes what came of it.
func (l *ledger) put(ctx context.Context, project *uplink.Project, key string, size int64) error {
	err := put(ctx, project, key, size)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.unsure[key] = size
		return err
	}
	l.objects[key] = size
	return nil
}

// doubt notes an object that is about to be made: it may be there or not.
func (l *ledger) doubt(key string, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unsure[key] = size
}

// acknowledge notes that it is there.
func (l *ledger) acknowledge(key string, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.unsure, key)
	l.objects[key] = size
}

// take picks an object at random and takes it out, to delete it.
func (l *ledger) take() (key string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, size := range l.objects { // in random order
		delete(l.objects, key)
		l.unsure[key] = size
		return key, true
	}
	return "", false
}

// delete deletes an object at random and notes what came of it. It reports
// whether there was one.
func (l *ledger) delete(ctx context.Context, project *uplink.Project) (bool, error) {
	key, ok := l.take()
	if !ok {
		return false, nil
	}
	if err := project.Delete(ctx, bucket, key); err != nil {
		return true, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.unsure, key)
	l.deleted[key] = true
	return true, nil
}

// deleteMany deletes those of the objects that are there, by one call, and notes
// what came of it. It returns how many it deleted.
func (l *ledger) deleteMany(ctx context.Context, project *uplink.Project, keys []string) int {
	l.mu.Lock()
	keys = slices.DeleteFunc(keys, func(key string) bool {
		size, ok := l.objects[key]
		if ok {
			delete(l.objects, key)
			l.unsure[key] = size
		}
		return !ok
	})
	l.mu.Unlock()
	if _, err := project.DeleteMany(ctx, bucket, keys); err != nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range keys {
		delete(l.unsure, key)
		l.deleted[key] = true
	}
	return len(keys)
}

// pick is an object at random that is there.
func (l *ledger) pick() (key string, size int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, size := range l.objects {
		return key, size, true
	}
	return "", 0, false
}

// has reports whether an object is still to be there.
func (l *ledger) has(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.objects[key]
	return ok
}

// count is how many objects are there, and their bytes.
func (l *ledger) count() (objects int, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, size := range l.objects {
		bytes += size
	}
	return len(l.objects), bytes
}

// audit reads everything: what was acknowledged has to be there, what was
// deleted has to be gone, and the rest whole or absent. Nothing may use the
// ledger meanwhile.
func (l *ledger) audit(ctx context.Context, project *uplink.Project, r *reads) {
	var tasks sync.WaitGroup
	keys := make(chan string)
	for range 4 {
		tasks.Go(func() {
			for key := range keys {
				l.auditOne(ctx, project, key, r)
			}
		})
	}
	for _, some := range []map[string]int64{l.objects, l.unsure} {
		for _, key := range slices.Sorted(maps.Keys(some)) {
			keys <- key
		}
	}
	for key := range l.deleted {
		keys <- key
	}
	close(keys)
	tasks.Wait()
}

func (l *ledger) auditOne(ctx context.Context, project *uplink.Project, key string, r *reads) {
	if l.deleted[key] {
		if _, err := project.Stat(ctx, bucket, key); !errors.Is(err, uplink.ErrObjectNotFound) {
			r.failed(fmt.Errorf("%s was deleted and is there: %w", key, err))
		}
		return
	}
	size, unsure := l.unsure[key]
	if !unsure {
		size = l.objects[key]
	}
	err := r.one(func() error {
		err := get(ctx, project, key, size)
		if unsure && errors.Is(err, uplink.ErrObjectNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		r.failed(err)
	}
}

// reads counts reads and how they went.
type reads struct {
	mu      sync.Mutex
	Tried   int
	Wrong   int // with other bytes than were written
	Failed  int // with an error
	Slowest time.Duration
	Errors  []string // some of them
}

// one does a read and takes its time.
func (r *reads) one(read func() error) error {
	begun := time.Now()
	err := read()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Tried++
	r.Slowest = max(r.Slowest, time.Since(begun))
	return err
}

// failed counts a read that went wrong.
func (r *reads) failed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if errors.Is(err, errWrong) {
		r.Wrong++
	} else {
		r.Failed++
	}
	const enough = 5
	if len(r.Errors) < enough {
		r.Errors = append(r.Errors, err.Error())
	}
}

// keepReading reads objects at random until ctx is done, several at a time.
func (l *ledger) keepReading(ctx context.Context, project *uplink.Project, parallel int, r *reads) {
	var tasks sync.WaitGroup
	for range parallel {
		tasks.Go(func() {
			for ctx.Err() == nil {
				key, size, ok := l.pick()
				if !ok {
					return
				}
				err := r.one(func() error { return get(ctx, project, key, size) })
				// A read that the end of the ordeal cut off says nothing, nor
				// does one of what was deleted meanwhile.
				if err != nil && ctx.Err() == nil && l.has(key) {
					r.failed(err)
				}
			}
		})
	}
	tasks.Wait()
}

// fill uploads objects of several sizes that come to about so many bytes, a few
// at a time.
func (l *ledger) fill(ctx context.Context, project *uplink.Project, name string, bytes int64) error {
	type object struct {
		key  string
		size int64
	}
	objects := make(chan object)
	failed := make(chan error, 4)
	for range cap(failed) {
		go func() {
			var err error
			for o := range objects {
				if err == nil {
					err = l.put(ctx, project, o.key, o.size)
				}
			}
			failed <- err
		}()
	}
	for i, size := range sizes(bytes) {
		objects <- object{fmt.Sprintf("%s/%d", name, i), size}
	}
	close(objects)
	var err error
	for range cap(failed) {
		err = errors.Join(err, <-failed)
	}
	return err
}

// sizes splits so many bytes into objects: half of them into large ones, a
// quarter into middling ones and the rest into small ones, shuffled alike
// every time.
func sizes(bytes int64) []int64 {
	var all []int64
	for _, kind := range []struct{ size, share int64 }{{64 << 20, bytes / 2}, {4 << 20, bytes / 4}, {256 << 10, bytes / 4}} {
		for rest := kind.share; rest > 0; rest -= kind.size {
			all = append(all, min(kind.size, rest))
		}
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}
