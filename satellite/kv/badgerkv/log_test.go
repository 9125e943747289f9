package badgerkv

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"testing"
)

// TestRoomInTheLog: a log file gets longer once for many records, and what is
// not used of it is no damage. A record for which no room can be made leaves the
// file as it was.
func TestRoomInTheLog(t *testing.T) {
	dir := t.TempDir()
	id := storeID{1}
	l := newLogWriter(dir, id, 64<<20)
	if err := l.begin(1); err != nil {
		t.Fatal(err)
	}
	length := func() int64 {
		info, err := l.f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	seq, lengths := uint64(1), map[int64]int{}
	add := func(size int) error {
		err := l.append(seq, writes{"key": bytes.Repeat([]byte("v"), size)})
		if err == nil {
			seq++
		}
		return err
	}
	for range 50 {
		if err := add(1000); err != nil {
			t.Fatal(err)
		}
		lengths[length()]++
	}
	if len(lengths) != 1 || lengths[roomAhead] != 50 {
		t.Errorf("lengths of the file, and how often: %v", lengths)
	}
	write := l.write
	for failing := range 3 { // of the writes that the record takes
		n := 0
		l.write = func(f *os.File, b []byte, off int64) error {
			if n++; n > failing {
				return syscall.ENOSPC
			}
			return write(f, b, off)
		}
		if err := add(2 * roomAhead); !errors.Is(err, errTaken) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("write %d fails: %v", failing, err)
		}
		if length() != l.size {
			t.Errorf("write %d fails: %d bytes are left behind the records", failing, length()-l.size)
		}
	}
	l.write = write
	for _, size := range []int{1000, 2 * roomAhead, roomAhead, 1000} {
		if err := add(size); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	s, err := surveyLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	if s.next != seq || s.torn || len(s.gaps) > 0 || s.size != l.size || s.replayed(1) != l.size {
		t.Errorf("survey %+v, want %d records of %d bytes", s, seq-1, l.size)
	}
}
