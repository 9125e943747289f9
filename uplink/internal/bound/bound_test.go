package bound

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
)

func TestMeter(t *testing.T) {
	const cores, rounds = 2, 2
	dirs := []string{t.TempDir(), t.TempDir()}
	meter, err := NewMeter(Config{
		Scheme: erasure.Scheme{Required: 2, RepairBelow: 3, Success: 3, Total: 4},
		Cores:  cores, Duration: 20 * time.Millisecond, Together: 3 << 20, Spawn: spawnIn(dirs), Dirs: dirs,
	})
	if err != nil {
		t.Fatal(err)
	}
	for range rounds {
		if err := meter.Round(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(meter.send); n != rounds {
		t.Errorf("%d rounds count of %d", n, rounds)
	}
	places := meter.Places()
	if err := meter.Close(); err != nil {
		t.Error(err)
	}
	if len(places) != 2 {
		t.Fatalf("%d places of 2", len(places))
	}
	for _, p := range places {
		for name, w := range map[string]Work{"upload": p.Upload, "download": p.Download, "degraded": p.Degraded} {
			checkWork(t, name, w, cores)
		}
		if p.Degraded.Together != (Part{}) {
			t.Errorf("%+v together with shards lost", p.Degraded.Together)
		}
		for name, together := range map[string]Part{"upload": p.Upload.Together, "download": p.Download.Together} {
			if together.CPU <= 0 || together.Rate <= 0 {
				t.Errorf("%s: %+v together", name, together)
			}
		}
		if p.Upload.Disk <= 0 || p.Download.Disk != 0 {
			t.Errorf("a disk of %g limits uploads, of %g downloads", p.Upload.Disk, p.Download.Disk)
		}
		if left, err := os.ReadDir(p.Dir); err != nil || len(left) > 0 {
			t.Errorf("left in the directory: %v, %v", left, err)
		}
	}
}

// TestNoMeter: one that cannot be made leaves nothing behind.
func TestNoMeter(t *testing.T) {
	dir := t.TempDir()
	c := Config{Scheme: erasure.Scheme{Required: 2, RepairBelow: 3, Success: 3, Total: 4}, Cores: 1, Duration: time.Millisecond}
	for name, change := range map[string]func(*Config){
		"no directory": func(c *Config) { c.Dirs, c.Spawn = []string{dir, filepath.Join(dir, "none")}, spawnIn(nil) },
		"no processes": func(c *Config) {
			c.Dirs, c.Spawn = []string{dir}, func() (string, func(), error) { return "", nil, errors.New("none") }
		},
	} {
		change(&c)
		if _, err := NewMeter(c); err == nil {
			t.Errorf("%s: no error", name)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: left in the directory: %v, %v", name, left, err)
		}
	}
}

// TestTogetherEnds: a program whose far end goes away in the middle says so.
func TestTogetherEnds(t *testing.T) {
	dirs := []string{t.TempDir()}
	coder, err := erasure.NewCoder(2, 4)
	if err != nil {
		t.Fatal(err)
	}
	far, err := newFarEnds(spawnIn(dirs), 4)
	if err != nil {
		t.Fatal(err)
	}
	defer far.close()
	p := newProgram(far, []*stripe{newStripe(coder)}, 1<<40) // more than there will ever be
	failed := make(chan error)
	go func() {
		_, err := p.upload(0)
		failed <- err
	}()
	for len(p.free) == lots { // until some are under way
		time.Sleep(time.Millisecond)
	}
	far.all[3].end()
	if err := <-failed; err == nil {
		t.Error("all of it was kept")
	}
}

// checkWork checks that every part counts and none is above the limits.
func checkWork(t *testing.T, name string, w Work, cores int) {
	t.Helper()
	for _, p := range w.Parts {
		if p.CPU <= 0 || p.Rate <= 0 || w.Limit(cores) > float64(cores)/p.CPU {
			t.Errorf("%s: limit %g with part %+v", name, w.Limit(cores), p)
		}
	}
}

func TestLimit(t *testing.T) {
	w := Work{Parts: []Part{
		{Name: PartSeal, CPU: 1, Rate: 2}, {Name: PartTransport, CPU: 3, Rate: 1}, {Name: PartReceiver, CPU: 4, Rate: 0.25},
	}}
	if got := w.Limit(2); got != 0.25 {
		t.Errorf("the processors allow %g", got)
	}
	if w.Disk = 0.125; w.Limit(2) != 0.125 {
		t.Errorf("the disk allows %g", w.Limit(2))
	}
}

func TestMedian(t *testing.T) {
	rounds := func(cpu ...time.Duration) (all []spent) {
		for _, c := range cpu {
			all = append(all, spent{bytes: 2, cpu: c * time.Second, wall: time.Second / c})
		}
		return all
	}
	for _, c := range []struct {
		rounds []spent
		want   Part
	}{
		{rounds(4), Part{CPU: 4, Rate: 4}},
		{rounds(4, 2), Part{CPU: 2, Rate: 2}},
		{rounds(8, 1, 2), Part{CPU: 2, Rate: 2}},
	} {
		if got := part("", c.rounds, 2); got != c.want {
			t.Errorf("%v: %+v instead of %+v", c.rounds, got, c.want)
		}
	}
}

// spawnIn serves from within the test.
func spawnIn(dirs []string) Spawn {
	return func() (string, func(), error) {
		in, end := io.Pipe()
		out, said := io.Pipe()
		go Serve(in, said, dirs)
		address, err := bufio.NewReader(out).ReadString('\n')
		return strings.TrimSpace(address), func() { end.Close() }, err
	}
}

func BenchmarkSeal(b *testing.B)   { benchmark(b, (*stripe).seal) }
func BenchmarkCode(b *testing.B)   { benchmark(b, (*stripe).code) }
func BenchmarkHash(b *testing.B)   { benchmark(b, (*stripe).hash) }
func BenchmarkDecode(b *testing.B) { benchmark(b, (*stripe).decode) }
func BenchmarkOpen(b *testing.B)   { benchmark(b, (*stripe).open) }

func benchmark(b *testing.B, work func(*stripe) error) {
	for _, s := range []string{"4/6/8/10", "10/14/16/20", "20/28/32/40"} {
		b.Run(s, func(b *testing.B) {
			scheme, err := erasure.ParseScheme(s)
			if err != nil {
				b.Fatal(err)
			}
			coder, err := erasure.NewCoder(scheme.Required, scheme.Total)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(newStripe(coder).plain)))
			b.RunParallel(func(pb *testing.PB) {
				stripe := newStripe(coder)
				stripe.seal() // what opening needs
				for pb.Next() {
					if err := work(stripe); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
