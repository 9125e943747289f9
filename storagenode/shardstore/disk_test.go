package shardstore

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestClosedFile: calls on a file that is closed do not reach whatever has its
// number now.
func TestClosedFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(2*pageSize), dataSync(f), punch(f, 0, pageSize)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	_, _, err = nextData(f, 0)
	for name, err := range map[string]error{"sync": dataSync(f), "punch": punch(f, 0, pageSize), "seek": err} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
