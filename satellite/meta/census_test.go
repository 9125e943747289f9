package meta

import (
	"math"
	"testing"
)

func TestCensus(t *testing.T) {
	s := memRig(t)
	if c, err := s.Census(t.Context()); err != nil || c != (Census{}) {
		t.Fatalf("%+v, %v", c, err)
	}
	for _, more := range []Census{{}, {Hours: 5, Failures: 1}, {Hours: 7, Rebuilt: 2, Seconds: 90, Megabytes: 4}, {Failures: 2}} {
		if err := s.AddCensus(t.Context(), more); err != nil {
			t.Fatal(err)
		}
	}
	want := Census{Hours: 12, Failures: 3, Rebuilt: 2, Seconds: 90, Megabytes: 4}
	if c, err := s.Census(t.Context()); err != nil || c != want {
		t.Fatalf("%+v, %v, want %+v", c, err, want)
	}
	// A counter that would overflow stays as it is.
	if err := s.AddCensus(t.Context(), Census{Hours: math.MaxUint32 - 5}); err != nil {
		t.Fatal(err)
	}
	if c, err := s.Census(t.Context()); err != nil || c != want {
		t.Fatalf("%+v, %v, want %+v", c, err, want)
	}
}
