package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// flips changes bytes in the volumes of a stopped node, in every record one, and
// starts it: one scrub has to find all of them, the node has to heal, and what
// is read meanwhile has to be right. Then the node gets back what it had, for
// the next bytes.
type flips struct {
	nodes   int
	scheme  string
	objects int
	every   int
	rounds  int
}

// page is how far apart records begin, at least. The objects here are so small
// that each of their records is one page.
const page = 4096

func (s *flips) flags(f *flag.FlagSet) {
	f.IntVar(&s.nodes, "nodes", 5, "storage nodes")
	f.StringVar(&s.scheme, "scheme", "2/3/4/5", "required/repair-below/success/total shards")
	f.IntVar(&s.objects, "objects", 24, "objects to store, and to flip a byte of each round")
	f.IntVar(&s.every, "every", 131, "flip every so many bytes of each page of the volumes; 1 steps through all")
}

func (s *flips) run(ctx context.Context, l *lab) error {
	if err := l.start(ctx, setup{nodes: s.nodes, scheme: s.scheme}); err != nil {
		return err
	}
	for i := range s.objects {
		if err := l.data.put(ctx, l.project, fmt.Sprint("flips/", i), 5000); err != nil {
			return err
		}
	}
	if err := l.awaitWhole(ctx); err != nil {
		return err
	}
	begun := time.Now()
	if err := s.stepThrough(ctx, l, l.net.NodeDir(0)); err != nil {
		return err
	}
	l.report.add("a round", time.Since(begun).Seconds()/float64(s.rounds), "s")
	if err := l.verify(ctx); err != nil {
		return err
	}
	return l.fsck(ctx)
}

// stepThrough does a round for each place in a page that is to be flipped.
func (s *flips) stepThrough(ctx context.Context, l *lab, dir string) error {
	if err := l.net.Nodes[0].Stop(); err != nil {
		return err
	}
	data, kept := filepath.Join(dir, "data"), filepath.Join(l.dir, "kept")
	if err := copyTree(data, kept); err != nil {
		return err
	}
	var r reads
	flipped := 0
	for at := 0; at < page; at += s.every {
		if s.rounds++; s.rounds%100 == 1 {
			l.report.say("flipping byte %d of each page", at)
		}
		n, err := s.round(ctx, l, data, at, &r)
		if err != nil {
			return fmt.Errorf("byte %d of each page: %w", at, err)
		}
		flipped += n
		if err := errors.Join(os.RemoveAll(data), copyTree(kept, data)); err != nil {
			return err
		}
	}
	if err := s.up(ctx, l); err != nil {
		return err
	}
	l.report.must(flipped > 0, "bytes flipped, found by one scrub and healed", float64(flipped), "", "some")
	l.report.addReads("reads meanwhile", &r)
	return l.awaitWhole(ctx)
}

// round flips one byte in each page of the volumes, and ends when the node,
// stopped again, holds everything sound.
func (s *flips) round(ctx context.Context, l *lab, data string, at int, r *reads) (int, error) {
	volumes, err := filepath.Glob(filepath.Join(data, "volumes", "*.vol"))
	if err != nil {
		return 0, err
	}
	flipped, records := 0, 0
	for _, path := range volumes {
		n, err := flipPages(path, at)
		if err != nil {
			return 0, err
		}
		flipped, records = flipped+n, records+n-1 // the first page has no record
	}
	// The last record ends before its page does.
	if records != s.objects && records != s.objects-1 {
		return 0, fmt.Errorf("%d pages of records where there should be %d", records, s.objects)
	}
	if err := s.up(ctx, l); err != nil {
		return 0, err
	}
	if err := s.heal(ctx, l, records, r); err != nil {
		return 0, err
	}
	return flipped, s.sound(ctx, l)
}

// heal has the node scrub once, and waits until what was flipped is made again.
// Everything is read before and after.
func (s *flips) heal(ctx context.Context, l *lab, records int, r *reads) error {
	l.data.audit(ctx, l.project, r)
	found, err := l.net.Scrub(ctx, 0)
	if err != nil {
		return err
	}
	if int(found.Damaged) != records {
		return fmt.Errorf("%d records were damaged and the scrub found %d", records, found.Damaged)
	}
	err = l.await(ctx, "what was flipped is not healed", func() (bool, error) {
		v, err := l.look(ctx)
		if err != nil {
			return false, err
		}
		healed := v.infos[0].Healing.GetShards()
		return int(healed) == records && v.whole(), fmt.Errorf("%d of %d are healed; %v", healed, records, v)
	})
	if err != nil {
		return err
	}
	l.data.audit(ctx, l.project, r)
	return nil
}

// up starts the node and waits until it is there again.
func (s *flips) up(ctx context.Context, l *lab) error {
	if err := l.net.Nodes[0].Start(); err != nil {
		return err
	}
	return l.net.AwaitNodes(ctx, s.nodes)
}

// sound stops the node and has all of its store checked.
func (s *flips) sound(ctx context.Context, l *lab) error {
	node := l.net.Nodes[0]
	if err := node.Stop(); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, node.Path, "fsck", "--dir", l.net.NodeDir(0)).CombinedOutput(); err != nil {
		return fmt.Errorf("fsck after healing: %w\n%s", err, out)
	}
	return nil
}

// flipPages changes all bits of the byte at this place in every page of a file
// that is not a hole, and returns how many pages that is.
func flipPages(path string, at int) (pages int, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for offset := int64(0); ; offset += page {
		offset, err = unix.Seek(int(f.Fd()), offset, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // nothing but a hole follows
			return pages, f.Sync()
		}
		if err != nil {
			return pages, err
		}
		offset -= offset % page
		var b [1]byte
		if _, err := f.ReadAt(b[:], offset+int64(at)); err == io.EOF {
			return pages, f.Sync() // the file ends within its last page
		} else if err != nil {
			return pages, err
		}
		b[0] ^= 0xff
		if _, err := f.WriteAt(b[:], offset+int64(at)); err != nil {
			return pages, err
		}
		pages++
	}
}

// copyTree copies a directory with its holes.
func copyTree(from, to string) error {
	if out, err := exec.Command("cp", "-a", "--sparse=always", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	return nil
}
