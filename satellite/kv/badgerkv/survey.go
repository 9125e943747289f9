package badgerkv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/cairnstorage/cairn/satellite/kv"
)

// logSurvey is what the log's files hold, damage included.
type logSurvey struct {
	id    storeID
	files []uint64 // numbers of the first records, ascending
	// next is the number after the last record that is there.
	next uint64
	// size is where the records of the last file end; torn tells that
	// something follows there that is neither a record nor zeros.
	size  int64
	torn  bool
	gaps  []gap
	sizes []int64 // of the files' records, in bytes
}

// replayed returns about how many bytes are replayed from a record on.
func (s *logSurvey) replayed(from uint64) (n int64) {
	for i, size := range s.sizes {
		if i+1 == len(s.files) || s.files[i+1] > from {
			n += size
		}
	}
	return n
}

// gap is a run of records that are missing or damaged.
type gap struct {
	from, to uint64 // both included
	where    string
}

// logFiles lists the log's files by the numbers of their first records.
func logFiles(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the log's directory: %w", err)
	}
	var files []uint64
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".log")
		if !ok {
			continue
		}
		first, err := strconv.ParseUint(name, 16, 64)
		if err != nil || logName(first) != e.Name() {
			return nil, damaged("%s is not a log file", filepath.Join(dir, e.Name()))
		}
		files = append(files, first)
	}
	sort.Slice(files, func(i, j int) bool { return files[i] < files[j] })
	return files, nil
}

// surveyLog reads the whole log. The error is about files that cannot be read
// or judged at all; what records are missing stands in the survey.
func surveyLog(dir string) (*logSurvey, error) {
	files, err := logFiles(dir)
	if err != nil || len(files) == 0 {
		return nil, err
	}
	s := &logSurvey{files: files, next: files[0]}
	known := false
	for i, first := range files {
		path := filepath.Join(dir, logName(first))
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading the log: %w", err)
		}
		s.sizes = append(s.sizes, int64(len(b)))
		last := i == len(files)-1
		id, headerFirst, err := decodeLogHeader(b)
		switch {
		case err == nil && headerFirst != first:
			return nil, damaged("%s begins with record %d", path, headerFirst)
		case err == nil && known && id != s.id:
			return nil, damaged("%s belongs to another store", path)
		case errors.Is(err, errVersion):
			return nil, fmt.Errorf("log file %s was %w", path, err)
		case err != nil && last:
			return nil, damaged("log file %s: %v", path, err)
		case err != nil:
			continue // the next file's beginning tells what is missing
		}
		s.id, known = id, true
		if first < s.next {
			return nil, damaged("%s repeats records", path)
		}
		s.miss(first-1, path+" follows")
		s.surveyFile(path, b)
		s.sizes[i] = s.size
	}
	return s, nil
}

// miss notes that the records from s.next to to are not there.
func (s *logSurvey) miss(to uint64, where string) {
	if to >= s.next {
		s.gaps = append(s.gaps, gap{s.next, to, where})
		s.next = to + 1
	}
}

// surveyFile goes through the records of one file.
func (s *logSurvey) surveyFile(path string, b []byte) {
	rest := b[logHeader:]
	s.torn = false
	for len(rest) > 0 {
		seq, _, after, err := cutRecord(rest, s.id)
		if err == nil && seq == s.next {
			s.next++
			rest = after
			continue
		}
		where := fmt.Sprintf("%s at byte %d", path, len(b)-len(rest))
		later := findRecord(rest, s.id, s.next)
		if later == nil {
			s.torn = len(bytes.TrimLeft(rest, "\x00")) > 0
			break
		}
		seq, _, _, _ = cutRecord(later, s.id)
		if seq == s.next { // junk between records
			s.gaps = append(s.gaps, gap{seq, seq, where})
			s.next++
			_, _, rest, _ = cutRecord(later, s.id)
			continue
		}
		s.miss(seq-1, where)
		rest = later
	}
	s.size = int64(len(b) - len(rest))
}

// replayLog gives every record from number from on, in order, to apply. The
// survey has shown that they are all there.
func replayLog(dir string, s *logSurvey, from uint64, apply func(seq uint64, w writes) error) error {
	for i, first := range s.files {
		if i+1 < len(s.files) && s.files[i+1] <= from {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, logName(first)))
		if err != nil {
			return fmt.Errorf("reading the log: %w", err)
		}
		for rest := b[min(logHeader, len(b)):]; ; {
			rest = findRecord(rest, s.id, from)
			if rest == nil {
				break
			}
			seq, payload, after, err := cutRecord(rest, s.id)
			if err != nil || seq != from {
				return fmt.Errorf("%w: record %d of the log changed while it was read", kv.ErrDamaged, from)
			}
			w, err := decodeWrites(payload)
			if err != nil {
				return fmt.Errorf("%w: record %d of the log: %w", kv.ErrDamaged, seq, err)
			}
			if err := apply(seq, w); err != nil {
				return err
			}
			from, rest = seq+1, after
		}
	}
	if from != s.next {
		return fmt.Errorf("%w: the log changed while it was read", kv.ErrDamaged)
	}
	return nil
}
