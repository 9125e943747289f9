package badgerkv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"

	"golang.org/x/sys/unix"
)

// roomAhead is how far a file is filled with zeros ahead of its records, in
// bytes. A sync of what lies in such room is one write to the disk; one that makes
// the file longer has the file system write its own journal, too, and wait for
// what others have in there.
const roomAhead = 1 << 20

var zeros [64 << 10]byte

// logWriter appends records to the log and makes each durable. One goroutine
// uses it.
type logWriter struct {
	dir   string
	id    storeID
	limit int64 // size at which a new file is begun

	files []uint64 // numbers of the first records of all files, ascending
	f     *os.File // the last of them
	size  int64    // where its records end
	room  int64    // where the file ends, at or after size; zeros lie between
	buf   []byte

	// The two system calls that tests make fail.
	write func(f *os.File, b []byte, off int64) error
	sync  func(f *os.File) error
}

// errTaken: a record could not be written, and the log is as it was before.
var errTaken = errors.New("the record was taken back")

func newLogWriter(dir string, id storeID, limit int64) *logWriter {
	return &logWriter{
		dir:   dir,
		id:    id,
		limit: limit,
		write: func(f *os.File, b []byte, off int64) error {
			_, err := f.WriteAt(b, off)
			return err
		},
		sync: func(f *os.File) error {
			return uninterrupted(func() error { return unix.Fdatasync(int(f.Fd())) })
		},
	}
}

// uninterrupted makes a system call again when a signal came in between, which
// says nothing about the disk.
func uninterrupted(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

func logName(first uint64) string { return fmt.Sprintf("%016x.log", first) }

// begin makes a new file whose first record will be number first. The file
// appears under its name only when its header is durable. After errTaken the
// file before it still takes records.
func (l *logWriter) begin(first uint64) error {
	path := filepath.Join(l.dir, logName(first))
	f, err := os.OpenFile(path+".tmp", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("beginning a log file: %w", err)
	}
	header := encodeLogHeader(l.id, first)
	err = l.write(f, header, 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		f.Close()
		os.Remove(path + ".tmp")
		return fmt.Errorf("%w: beginning the log file %s: %w", errTaken, path, err)
	}
	if err := syncDir(l.dir); err != nil {
		f.Close()
		return err
	}
	if l.f != nil {
		l.f.Truncate(l.size) // saves space; zeros at the end do no harm
		l.f.Close()
	}
	l.files = append(l.files, first)
	l.f, l.size, l.room = f, int64(len(header)), int64(len(header))
	return nil
}

// resume opens the last of files, whose records end at size, for appending.
func (l *logWriter) resume(files []uint64, size int64) error {
	path := filepath.Join(l.dir, logName(files[len(files)-1]))
	f, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	if err := f.Truncate(size); err != nil {
		f.Close()
		return fmt.Errorf("cutting a torn record off %s: %w", path, err)
	}
	// What follows relies on every record that is there, and the last one may
	// not have been synced before the process died.
	if err := f.Sync(); err != nil {
		f.Close()
		return fmt.Errorf("syncing %s: %w", path, err)
	}
	l.files, l.f, l.size, l.room = files, f, size, size
	unfinished, err := filepath.Glob(filepath.Join(l.dir, "*.tmp"))
	for _, name := range unfinished {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// append makes the record of w durable under number seq. When the error is
// errTaken the log is unchanged; after any other the log must not be used.
func (l *logWriter) append(seq uint64, w writes) error {
	if l.size >= l.limit && seq > l.files[len(l.files)-1] {
		if err := l.begin(seq); err != nil {
			return err
		}
	}
	l.buf = appendRecord(l.buf[:0], l.id, seq, w)
	end := l.size + int64(len(l.buf))
	if err := l.makeRoom(end); err != nil {
		return l.takeBack(fmt.Errorf("making room in the log: %w", err))
	}
	if err := l.write(l.f, l.buf, l.size); err != nil {
		return l.takeBack(fmt.Errorf("writing to the log: %w", err))
	}
	if err := l.sync(l.f); err != nil {
		// Whether the record is on disk is unknown, and stays so: a second
		// sync may succeed without having written anything.
		return fmt.Errorf("syncing the log: %w", err)
	}
	l.size = end
	if cap(l.buf) > 4<<20 {
		l.buf = nil
	}
	return nil
}

// makeRoom has a record that ends at end lie in room that is there, or else
// makes room behind it, to be synced together with it.
func (l *logWriter) makeRoom(end int64) error {
	if end <= l.room {
		return nil
	}
	room := (end + roomAhead - 1) / roomAhead * roomAhead
	for at := end; at < room; {
		n := min(room-at, int64(len(zeros)))
		if err := l.write(l.f, zeros[:n], at); err != nil {
			return err
		}
		at += n
	}
	l.room = room
	return nil
}

// takeBack removes what a failed write left.
func (l *logWriter) takeBack(cause error) error {
	if err := l.f.Truncate(l.size); err != nil {
		return errors.Join(cause, err)
	}
	l.room = l.size
	if err := l.sync(l.f); err != nil {
		return errors.Join(cause, err)
	}
	return fmt.Errorf("%w: %w", errTaken, cause)
}

// trim removes the files all of whose records are numbered below keep.
func (l *logWriter) trim(keep uint64) error {
	n := sort.Search(len(l.files)-1, func(i int) bool { return l.files[i+1] > keep })
	for _, first := range l.files[:n] {
		if err := os.Remove(filepath.Join(l.dir, logName(first))); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("trimming the log: %w", err)
		}
		l.files = l.files[1:]
	}
	return nil
}

func (l *logWriter) close() error {
	if err := l.f.Close(); err != nil {
		return fmt.Errorf("closing the log: %w", err)
	}
	return nil
}
