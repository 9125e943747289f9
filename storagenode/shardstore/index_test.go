package shardstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A process that ends while Badger removes a log leaves it empty, which Badger
// would take for damage.
func TestEmptyIndexLog(t *testing.T) {
	cfg, samples := filled(t, 4096)
	name := filepath.Join(cfg.Dirs[0], "index", "00009.mem")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, cfg)
	defer s.Close()
	if usage := s.Usage(); usage.Shards != len(samples) || usage.Trouble() != "" {
		t.Errorf("%d shards of %d, trouble %q", usage.Shards, len(samples), usage.Trouble())
	}
}

// TestDamagedIndex deletes, cuts off and flips bits of every file of the index.
// The store must either say that the index is damaged, or have every shard;
// and a rebuild always brings all of them back.
func TestDamagedIndex(t *testing.T) {
	cfg, samples := filled(t, 4096, 70_016, 64, 64, 64)
	killed := cfg
	{ // also as a kill leaves it, with a log that is not flushed
		s := openStore(t, cfg)
		more := newSample(99, 4096)
		if err := more.put(s); err != nil {
			t.Fatal(err)
		}
		if err := s.dirs[0].index.flush(); err != nil {
			t.Fatal(err)
		}
		samples = append(samples, more)
		killed.Dirs = []string{copyDir(t, cfg.Dirs[0])}
		s.Close()
	}
	harms := map[string]func(t *testing.T, path string){
		"delete":   func(t *testing.T, path string) { os.RemoveAll(path) },
		"halve":    func(t *testing.T, path string) { st, _ := os.Stat(path); os.Truncate(path, st.Size()/2) },
		"cut":      func(t *testing.T, path string) { st, _ := os.Stat(path); os.Truncate(path, max(0, st.Size()-3)) },
		"flip 5":   func(t *testing.T, path string) { flipAt(t, path, 5) },
		"flip end": func(t *testing.T, path string) { flipAt(t, path, -10) },
		"zero":     func(t *testing.T, path string) { zero(t, path) },
	}
	for state, from := range map[string]Config{"stopped": cfg, "killed": killed} {
		files, err := os.ReadDir(filepath.Join(from.Dirs[0], indexDir))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			for name, harm := range harms {
				t.Run(state+"/"+f.Name()+"/"+name, func(t *testing.T) {
					t.Parallel()
					dir := copyDir(t, from.Dirs[0])
					path := filepath.Join(dir, indexDir, f.Name())
					if _, err := os.Stat(path); err != nil {
						t.Skip("a lock")
					}
					harm(t, path)
					checkDamagedIndex(t, dir, from, samples)
				})
			}
		}
	}
}

func checkDamagedIndex(t *testing.T, dir string, cfg Config, samples []sample) {
	cfg.Dirs = []string{dir}
	findings(t, dir)
	s, err := Open(cfg)
	if err != nil {
		if !errors.Is(err, ErrIndex) {
			t.Errorf("open: %v", err)
		}
		if _, err := RebuildIndex(context.Background(), dir, func(d Damage) { t.Error(d) }); err != nil {
			t.Fatalf("rebuild: %v", err)
		}
		s = openStore(t, cfg)
	}
	defer s.Close()
	for i, one := range samples {
		if err := one.check(s); err != nil {
			t.Errorf("shard %d: %v", i, err)
		}
	}
}

func flipAt(t *testing.T, path string, offset int64) {
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if offset < 0 {
		offset += st.Size()
	}
	if offset < 0 || offset >= st.Size() {
		t.Skip("the file is too short")
	}
	flip(t, path, offset)
}

func zero(t *testing.T, path string) {
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, st.Size()), 0o600); err != nil {
		t.Fatal(err)
	}
}
