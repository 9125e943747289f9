package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/cairnstorage/cairn/uplink"
)

// tree copies all that is below a source.
func (c *copier) tree(b *batch, from, to location, isDir bool, way direction) error {
	switch way {
	case upload:
		return c.uploadTree(b, from, to)
	case download:
		return c.downloadTree(b, from, to, isDir)
	}
	return c.copyTree(b, from, to)
}

func (c *copier) uploadTree(b *batch, from, to location) error {
	info, err := os.Stat(from.path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return b.run(from.path, func(ctx context.Context) error { return c.one(ctx, from, to, false, upload) })
	}
	each := func(f localFile) error {
		j := job{from: location{path: f.path}, to: to.join(f.rel), size: f.size, modified: f.modified}
		if err := uplink.CheckKey(j.to.key); err != nil {
			b.refuse(f.path, err)
			return nil
		}
		c.show.expect(f.size)
		return b.run(f.path, func(ctx context.Context) error { return c.do(ctx, j, upload, nil) })
	}
	skip := func(path, why string) {
		if !c.a.quiet {
			c.show.note("%s: skipped, it is %s", printable(path), why)
		}
	}
	return walkFiles(b.ctx, from.path, each, skip, b.refuse)
}

func (c *copier) downloadTree(b *batch, from, to location, isDir bool) error {
	var root *os.Root
	each := func(j job, rel string) error {
		if err := checkLocalName(rel); err != nil {
			b.refuse(j.from.String(), err)
			return nil
		}
		if root == nil && !c.dryRun {
			var err error
			if root, err = openTarget(to.path); err != nil {
				return err
			}
		}
		in := root // of this target; closed once all work is done
		return b.run(j.from.String(), func(ctx context.Context) error { return c.do(ctx, j, download, in) })
	}
	err := c.objects(b, from, to, each)
	_ = b.group.Wait()
	if root != nil {
		root.Close()
	}
	return err
}

// openTarget makes the directory that a tree is copied to.
func openTarget(path string) (*os.Root, error) {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, err
	}
	return os.OpenRoot(path)
}

// copyTree copies on the satellite. What there is is found first, for copies
// may land below the source.
func (c *copier) copyTree(b *batch, from, to location) error {
	var jobs []job
	err := c.objects(b, from, to, func(j job, _ string) error {
		if err := uplink.CheckKey(j.to.key); err != nil {
			b.refuse(j.from.String(), err)
			return nil
		}
		jobs = append(jobs, j)
		return nil
	})
	for _, j := range jobs {
		if err != nil {
			break
		}
		err = b.run(j.from.String(), func(ctx context.Context) error { return c.do(ctx, j, serverSide, nil) })
	}
	return err
}

// objects gives a job for each object below from, and the rest of its key. If
// there is none but an object of this very key, that is the one.
func (c *copier) objects(b *batch, from, to location, each func(j job, rel string) error) error {
	found := false
	list := uplink.ListOptions{Prefix: from.asDirKey(), Recursive: true, Unsorted: true}
	for item, err := range c.p.List(b.ctx, from.bucket, list) {
		if err != nil {
			return err
		}
		found = true
		rel, _ := strings.CutPrefix(item.Object.Key, list.Prefix)
		j := job{size: item.Object.Size, to: to.join(rel)}
		j.from = location{remote: true, bucket: from.bucket, key: item.Object.Key}
		c.show.expect(j.size)
		if err := each(j, rel); err != nil {
			return err
		}
	}
	if found || from.key == "" {
		return nil
	}
	if from.isDir() {
		return errNothingBelow(from)
	}
	o, err := c.p.Stat(b.ctx, from.bucket, from.key)
	if errors.Is(err, uplink.ErrObjectNotFound) {
		return errNothingBelow(from)
	}
	if err != nil {
		return err
	}
	return each(job{from: from, to: to.join(from.base()), size: o.Size}, from.base())
}
