package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairnstorage/cairn/uplink"
)

// packs stores small files, many to a segment, while others are copied, deleted
// and repacked and processes are killed with SIGKILL: nodes, the satellite, and
// uplinks in the middle of `cp -r`. What was acknowledged has to be there, each
// file on its own, and once all is deleted nothing of it may be left.
type packs struct {
	kills // who is killed when
	files int

	stored, copied, removed, repacked atomic.Int64
	cut                               atomic.Int64 // uplinks
}

func (p *packs) flags(f *flag.FlagSet) {
	f.IntVar(&p.nodes, "nodes", 10, "storage nodes")
	f.StringVar(&p.scheme, "scheme", "4/6/8/10", "required/repair-below/success/total shards")
	f.IntVar(&p.rounds, "rounds", 20, "times to kill one or two nodes")
	f.IntVar(&p.satellite, "satellite", 7, "kill the satellite every so many `rounds`, too; 0: never")
	f.DurationVar(&p.grace, "offline-grace", 10*time.Second, "of the satellite")
	f.Int64Var(&p.size, "size", 64<<10, "bytes of the largest file")
	f.Int64Var(&p.bound, "bound", 64, "MiB that are kept at most")
	f.IntVar(&p.files, "files", 500, "files in each folder that an uplink copies until it is killed")
	f.Uint64Var(&p.seed, "seed", 0, "of who is killed when; 0: another each time")
}

func (p *packs) run(ctx context.Context, l *lab) error {
	if err := p.begin(ctx, l); err != nil {
		return err
	}
	if err := p.underLoad(ctx, l, func() error { return p.killAll(ctx, l) }); err != nil {
		return err
	}
	l.report.must(p.stored.Load() > 0, "files stored in packs and acknowledged", float64(p.stored.Load()), "", "some")
	l.report.must(p.copied.Load() > 0, "copied", float64(p.copied.Load()), "", "some")
	l.report.must(p.removed.Load() > 0, "deleted", float64(p.removed.Load()), "", "some")
	l.report.must(p.repacked.Load() > 0, "moved to new packs", float64(p.repacked.Load()), "", "some")
	l.report.must(p.cut.Load() > 0, "uplinks killed while they copied a folder", float64(p.cut.Load()), "", "some")
	if err := l.awaitWhole(ctx); err != nil {
		return err
	}
	if err := p.check(ctx, l); err != nil {
		return err
	}
	if err := l.verify(ctx); err != nil {
		return err
	}
	if err := p.deleteAll(ctx, l); err != nil {
		return err
	}
	return l.fsck(ctx)
}

// underLoad does something while files come and go.
func (p *packs) underLoad(ctx context.Context, l *lab, do func() error) error {
	working, stop := context.WithCancel(ctx)
	defer stop()
	var tasks errgroup.Group
	for i, work := range []func(context.Context, *lab, string){p.pack, p.pack, p.copy, p.remove, p.repack, p.cutOff} {
		tasks.Go(func() error {
			for n := 0; working.Err() == nil; n++ {
				work(working, l, fmt.Sprintf("%d/%d", i, n))
			}
			return nil
		})
	}
	err := do()
	stop()
	return errors.Join(err, tasks.Wait())
}

// pack stores a few files by a Packer, which acknowledges each of them, and
// deletes most of them again every other time.
func (p *packs) pack(ctx context.Context, l *lab, name string) {
	if _, bytes := l.data.count(); bytes > p.bound<<20 {
		pause(ctx, 100*time.Millisecond)
		return
	}
	packer := l.project.NewPacker(ctx)
	var most []string
	for i := range 50 {
		key := fmt.Sprintf("packs/%s/%d", name, i)
		if i%5 > 0 {
			most = append(most, key)
		}
		size := rand.Int64N(1 + p.size>>rand.IntN(5))
		l.data.doubt(key, size)
		_ = packer.Add(bucket, key, content(key, size), uplink.UploadOptions{Size: size}, func(_ uplink.Object, err error) {
			if err == nil {
				p.stored.Add(1)
				l.data.acknowledge(key, size)
			}
		})
	}
	if packer.Flush() != nil {
		pause(ctx, 50*time.Millisecond) // while the satellite is down all fails at once
		return
	}
	if rand.IntN(2) == 0 {
		p.removed.Add(int64(l.data.deleteMany(ctx, l.project, most)))
	}
}

// copy gives a file a second name, which goes on when the first is deleted.
func (p *packs) copy(ctx context.Context, l *lab, name string) {
	from, size, ok := l.data.pick()
	if !ok || len(from) > 100 { // a copy of copies
		pause(ctx, 50*time.Millisecond)
		return
	}
	to := "copies/" + name + copyOf + from
	l.data.doubt(to, size)
	if _, err := l.project.Copy(ctx, bucket, from, bucket, to, uplink.CopyOptions{}); err != nil {
		pause(ctx, 20*time.Millisecond)
		return
	}
	p.copied.Add(1)
	l.data.acknowledge(to, size)
}

// remove deletes files here and there.
func (p *packs) remove(ctx context.Context, l *lab, _ string) {
	if objects, _ := l.data.count(); objects < 500 {
		pause(ctx, 50*time.Millisecond)
		return
	}
	if some, err := l.data.delete(ctx, l.project); some && err == nil {
		p.removed.Add(1)
	}
}

// repack empties the packs of which little is left.
func (p *packs) repack(ctx context.Context, l *lab, _ string) {
	pause(ctx, 300*time.Millisecond)
	done, _ := l.project.Repack(ctx, uplink.RepackOptions{}) // what failed is done next time
	p.repacked.Add(int64(done.Moved))
}

// cutOff has an uplink of its own copy a folder, and kills it.
func (p *packs) cutOff(ctx context.Context, l *lab, name string) {
	folder := filepath.Join(l.dir, "folder")
	keys := fmt.Sprintf("folders/%s/", name)
	if err := p.writeFolder(l, folder, keys); err != nil {
		l.report.fail("%v", err)
		return
	}
	defer os.RemoveAll(folder)
	command := l.net.Uplink(ctx, "-q", "cp", "-r", folder, "cairn://"+bucket+"/"+keys)
	if err := command.Start(); err != nil {
		if ctx.Err() == nil {
			l.report.fail("%v", err)
		}
		return
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	select {
	case err := <-ended:
		if err == nil { // it was faster
			p.acknowledgeFolder(l, keys)
		}
	case <-time.After(time.Duration(rand.IntN(1500)) * time.Millisecond):
		_ = command.Process.Kill()
		<-ended
		p.cut.Add(1)
	}
}

// folderFile is the name and size of a file in each folder.
func (p *packs) folderFile(i int) (name string, size int64) {
	return fmt.Sprintf("%d/%d", i%7, i), p.size >> (i % 6)
}

func (p *packs) writeFolder(l *lab, folder, keys string) error {
	for i := range p.files {
		name, size := p.folderFile(i)
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		data, _ := io.ReadAll(content(keys+name, size))
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
		l.data.doubt(keys+name, size)
	}
	return nil
}

func (p *packs) acknowledgeFolder(l *lab, keys string) {
	for i := range p.files {
		name, size := p.folderFile(i)
		l.data.acknowledge(keys+name, size)
	}
}

// deleteAll deletes every object there is, and waits until no node has a shard
// that counts.
func (p *packs) deleteAll(ctx context.Context, l *lab) error {
	l.report.say("deleting everything")
	var tasks errgroup.Group
	tasks.SetLimit(4)
	for item, err := range l.project.List(ctx, bucket, uplink.ListOptions{Recursive: true}) {
		if err != nil {
			return err
		}
		tasks.Go(func() error { return l.project.Delete(ctx, bucket, item.Object.Key) })
	}
	if err := tasks.Wait(); err != nil {
		return err
	}
	return l.await(ctx, "what was deleted is still held", func() (bool, error) {
		v, err := l.look(ctx)
		if err != nil {
			return false, err
		}
		held, segments := uint64(0), uint64(0)
		for _, info := range v.infos {
			held += info.Shards - info.Staged
		}
		for _, g := range v.groups {
			segments += g.Segments
		}
		return held == 0 && segments == 0, fmt.Errorf("%d shards are held, %d segments recorded", held, segments)
	})
}
