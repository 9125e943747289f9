package pages

import (
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
)

// fresh runs a test in a process of its own, whose heap nobody has used yet, and
// tells in the old one that it was done elsewhere.
func fresh(t *testing.T) (elsewhere bool) {
	t.Helper()
	const marker = "CAIRN_TEST_PAGES"
	if os.Getenv(marker) != "" {
		return false
	}
	command := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	command.Env = append(os.Environ(), marker+"=1")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return true
}

// TestPrepare: what the heap grows by is on huge pages, and nothing of it is in
// use before it is touched.
func TestPrepare(t *testing.T) {
	if fresh(t) {
		return
	}
	if on, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled"); err != nil || regexp.MustCompile(`\[never\]`).Match(on) {
		t.Skipf("this kernel has no huge pages to give: %q, %v", on, err)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	const prepared = 64 << 20
	before := hugeBytes(t)
	Prepare(prepared)
	if got := hugeBytes(t) - before; got > 4*Huge {
		t.Errorf("%d bytes are on huge pages before any is touched", got)
	}
	var live runtime.MemStats
	runtime.ReadMemStats(&live)
	if live.HeapAlloc > prepared/2 {
		t.Errorf("%d bytes of the heap are in use still", live.HeapAlloc)
	}
	buffers := make([][]byte, 128) // of half of what was prepared
	for i := range buffers {
		buffers[i] = make([]byte, prepared/2/len(buffers))
		for at := 0; at < len(buffers[i]); at += 4096 {
			buffers[i][at] = 1
		}
	}
	if got := hugeBytes(t) - before; got < prepared/4 {
		t.Errorf("of %d bytes that were touched %d are on huge pages", prepared/2, got)
	}
	runtime.KeepAlive(buffers)
}

// hugeBytes is how much of this process is on huge pages.
func hugeBytes(t *testing.T) int {
	t.Helper()
	all, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		t.Skip(err)
	}
	found := regexp.MustCompile(`AnonHugePages: +(\d+) kB`).FindSubmatch(all)
	if found == nil {
		t.Skipf("what is on huge pages is not told: %s", all)
	}
	kib, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

func TestPrepareLittle(t *testing.T) {
	for _, bytes := range []int{0, 1, Huge - 1, Huge, Huge + 1} {
		Prepare(bytes)
	}
}

// BenchmarkTouch is what the first touch of memory costs.
func BenchmarkTouch(b *testing.B) {
	const size = 64 << 20
	for _, huge := range []bool{false, true} {
		name := "small"
		if huge {
			name = "huge"
		}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			for range b.N {
				b.StopTimer()
				fresh := make([]byte, size)
				debug.FreeOSMemory()
				if huge {
					advise(fresh)
				}
				b.StartTimer()
				for at := 0; at < len(fresh); at += 4096 {
					fresh[at] = 1
				}
			}
		})
	}
}
