package results

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Run is where rows come from.
type Run struct {
	Name    string // of the file, without its ending
	Tree    string
	Day     string
	Cores   int
	Seconds float64
	Others  float64
}

// Load reads the reports in a directory, files that end in .json, and brings them
// together in the order of their names. A directory that is not there has none.
func Load(dir string) (*Report, []Run, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, nil, err
	}
	slices.Sort(paths)
	all := new(Report)
	var runs []Run
	for _, path := range paths {
		r, err := read(path)
		if err != nil {
			return nil, nil, err
		}
		if all.Cores > 0 && all.Cores != r.Cores {
			return nil, nil, fmt.Errorf("%s is of a machine with %d cores, those before of %d: measure all on one", path, r.Cores, all.Cores)
		}
		name := filepath.Base(path)
		runs = append(runs, Run{name[:len(name)-len(".json")], r.Tree, r.Day, r.Cores, r.Seconds, r.Others})
		all.Merge(r)
	}
	return all, runs, nil
}

func read(path string) (*Report, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(Report)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s is no report of scripts/bench -o json: %w", path, err)
	}
	return r, nil
}

// Merge adds the rows of another report. Where both have measured the same thing
// the other's row counts.
func (r *Report) Merge(o *Report) {
	r.Tree, r.Day, r.Cores = o.Tree, o.Day, o.Cores
	r.Seconds += o.Seconds
	r.Others = max(r.Others, o.Others)
	r.Failures = append(r.Failures, o.Failures...)
	r.Bounds = merge(r.Bounds, o.Bounds, func(b Bound) any { return b.Scheme })
	r.Transfers = merge(r.Transfers, o.Transfers, func(t Transfer) any { return [...]any{t.Scheme, t.Place, t.Direction, t.Bytes} })
	r.Ranges = merge(r.Ranges, o.Ranges, func(g Range) any { return [...]any{g.Place, g.Object} })
	if o.Trips != nil {
		r.Trips = o.Trips
	}
	r.Objects = merge(r.Objects, o.Objects, func(b Objects) any { return [...]any{b.Place, b.Operation, b.Size, b.Clients} })
	r.Files = merge(r.Files, o.Files, func(f Files) any { return [...]any{f.Place, f.Direction, f.Count} })
	r.Listings = merge(r.Listings, o.Listings, func(l Listing) any { return [...]any{l.Place, l.Keys, l.Order} })
	r.Commits = merge(r.Commits, o.Commits, func(c Commits) any { return [...]any{c.Place, c.Segments} })
	r.Metadata = merge(r.Metadata, o.Metadata, func(m Metadata) any { return [...]any{m.Place, m.Objects} })
	r.Memory = merge(r.Memory, o.Memory, func(m Memory) any { return [...]any{m.Place, m.Scheme, m.What} })
	r.Shaped = merge(r.Shaped, o.Shaped, func(s Shaped) any {
		return [...]any{s.Scheme, s.Place, s.Line, s.RTT, s.Lines, s.Direction, s.Bytes}
	})
	if o.Revision != "" {
		r.Revision, r.Compared = o.Revision, o.Compared
	}
}

// AddBound adds the places of a bound to those there are of its scheme.
func (r *Report) AddBound(b Bound) {
	i := slices.IndexFunc(r.Bounds, func(other Bound) bool { return other.Scheme == b.Scheme })
	if i < 0 {
		r.Bounds = append(r.Bounds, b)
		return
	}
	r.Bounds[i].Places = append(r.Bounds[i].Places, b.Places...)
}

// merge puts rows in the place of those with the same key, and others at the end.
func merge[T any](rows, others []T, key func(T) any) []T {
	for _, other := range others {
		i := slices.IndexFunc(rows, func(row T) bool { return key(row) == key(other) })
		if i < 0 {
			rows = append(rows, other)
		} else {
			rows[i] = other
		}
	}
	return rows
}
