package uplink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
)

// TestPackWithoutSatellite: a pack of many files fails once it is known that no
// satellite answers, which takes as long as for one file. What is refused
// otherwise may be allowed to the commit.
func TestPackWithoutSatellite(t *testing.T) {
	for _, test := range []struct {
		answer error
		asked  string // what was asked once; all else was not
	}{
		{ErrSatelliteUnreachable, "ListObjects"},
		{ErrDenied, "ListObjects, CommitObjects"},
	} {
		p, s := newTestProject(t, 1)
		var mu sync.Mutex
		asked := make(map[string]int)
		s.meddle = func(method string) error {
			mu.Lock()
			defer mu.Unlock()
			asked[method]++
			return test.answer
		}
		k := p.NewPacker(context.Background())
		const files = 100
		failed := 0
		for i := range files {
			err := k.Add("bucket", fmt.Sprint(i), bytes.NewReader([]byte("inline")), UploadOptions{}, func(_ Object, err error) {
				if errors.Is(err, test.answer) {
					failed++
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := k.Flush(); !errors.Is(err, test.answer) || failed != files {
			t.Errorf("%v: Flush: %v; of %d files %d failed by that", test.answer, err, files, failed)
		}
		var once string
		for _, method := range []string{"ListObjects", "CommitObjects"} {
			if asked[method] == 1 {
				once += ", " + method
			}
		}
		if once != ", "+test.asked || len(asked) > 2 {
			t.Errorf("%v: asked %v, want once %s", test.answer, asked, test.asked)
		}
	}
}
