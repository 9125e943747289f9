package shardstore

import (
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
