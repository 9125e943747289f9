package main

import "testing"

func TestReserve(t *testing.T) {
	const all = 8 * hugePage
	for _, steps := range [][]struct{ bytes, left int64 }{
		{{0, all}, {1, all - hugePage}, {hugePage, all - 2*hugePage}, {hugePage + 1, all - 4*hugePage}},
		{{all - 1, 0}, {1, 0}},
		{{all, 0}, {0, 0}},
		{{all + 1, 0}},
	} {
		r, err := takeMemory(all)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range steps {
			if err := r.give(step.bytes); err != nil || int64(len(r.rest)) != step.left {
				t.Errorf("after %d bytes more %d are left, not %d (%v)", step.bytes, len(r.rest), step.left, err)
			}
		}
		go r.follow()
		if err := r.close(); err != nil {
			t.Error(err)
		}
	}
}

// What others take is given up, down to nothing.
func TestReserveFollows(t *testing.T) {
	r, err := takeMemory(3*hugePage + 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.rest) != 3*hugePage {
		t.Fatalf("%d bytes are kept", len(r.rest))
	}
	r.level = 1 << 60 // as if all had been taken
	r.follow()
	if len(r.rest) > 0 {
		t.Error("not all is given up")
	}
	if err := r.give(1); err != nil {
		t.Error(err)
	}
}
