package storagenode

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	var p pace
	if p.rate() != 0 {
		t.Error("a rate of nothing")
	}
	at := time.Unix(1_700_000_000, 0)
	p.note(at, 100)
	if p.rate() != 0 {
		t.Error("a rate of one sample")
	}
	p.note(at, 200) // no time has gone by
	if p.rate() != 0 {
		t.Error("a rate in no time")
	}
	p.note(at.Add(10*time.Second), 1100)
	if got := p.rate(); got != 100 {
		t.Errorf("%v a second, want 100", got)
	}
	// What is older than the window counts no more.
	for i := range 100 {
		p.note(at.Add(time.Duration(20+10*i)*time.Second), 1100)
	}
	if got := p.rate(); got != 0 {
		t.Errorf("%v a second long after", got)
	}
	if len(p.samples) > 9 {
		t.Errorf("%d samples are kept", len(p.samples))
	}
}
