package uplink

import (
	"testing"
	"time"
)

func TestTypical(t *testing.T) {
	var times typical
	if times.get() != 0 || times.long() {
		t.Errorf("before anything came: %v, long %v", times.get(), times.long())
	}
	for range 100 {
		times.add(80 * time.Millisecond)
	}
	if got := times.get(); got != 80*time.Millisecond || !times.long() {
		t.Errorf("all alike: %v, long %v", got, times.long())
	}
	times.add(far)
	if times.long() {
		t.Error("lines are long though a piece came quickly")
	}
	for range 100 {
		times.add(time.Second)
	}
	if got := times.get(); got < 990*time.Millisecond || times.long() {
		t.Errorf("slower since: %v, long %v", got, times.long())
	}
}
