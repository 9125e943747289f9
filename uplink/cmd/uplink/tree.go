package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"strings"

	"github.com/cairnstorage/cairn/uplink"
)

// tree copies all that is below a source: to below the target or, as one of
// several sources, to below its own name there.
func (c *copier) tree(b *batch, from, to location, way direction, several bool) error {
	under := ""
	if several {
		name, err := from.name()
		if err != nil {
			return err
		}
		under = name + "/"
	}
	switch way {
	case upload:
		return c.uploadTree(b, from, to, under)
	case download:
		return c.downloadTree(b, from, to, under)
	}
	return c.copyTree(b, from, to, under)
}

func (c *copier) uploadTree(b *batch, from, to location, under string) error {
	info, err := os.Stat(from.path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return b.run(from.path, func(ctx context.Context) error { return c.one(ctx, from, to, under != "", upload) })
	}
	each := func(f localFile) error {
		j := job{from: location{path: f.path}, to: to.join(under + f.rel), size: f.size, modified: f.modified}
		if err := uplink.CheckKey(j.to.key); err != nil {
			b.refuse(f.path, err)
			return nil
		}
		c.show.expect(f.size)
		return b.run(f.path, func(ctx context.Context) error { return c.do(ctx, j, upload) })
	}
	skip := func(path, why string) {
		if !c.a.quiet {
			c.show.note("%s: skipped, it is %s", printable(path), why)
		}
	}
	return walkFiles(b.ctx, from.path, each, skip, b.refuse)
}

// fetchTogether is how many objects of a tree are downloaded together: of those
// that are stored together, most are among them.
const fetchTogether = 1 << 14

// fetchInline is how many of those are that the list holds as a whole.
const fetchInline = 256

func (c *copier) downloadTree(b *batch, from, to location, under string) (err error) {
	var into *localTree // made when the first object is found
	var jobs, inline []job
	err = c.objects(b, from, to, under, func(j job) error {
		if err := checkLocalName(j.rel); err != nil {
			b.refuse(j.from.String(), err)
			return nil
		}
		if c.dryRun {
			return b.run(j.from.String(), func(ctx context.Context) error { return c.do(ctx, j, download) })
		}
		if into == nil {
			var err error
			if into, err = openTree(to.path, c.move); err != nil {
				return err
			}
		}
		some, most := &jobs, fetchTogether
		if j.object.Segments == 0 {
			some, most = &inline, fetchInline
		}
		if *some = append(*some, j); len(*some) < most {
			return nil
		}
		defer func() { *some = (*some)[:0] }()
		return c.fetch(b, *some, into)
	})
	if into == nil {
		return err
	}
	for _, some := range [][]job{inline, jobs} { // whatever the list ended with
		if len(some) > 0 {
			err = cmp.Or(err, c.fetch(b, some, into))
		}
	}
	return cmp.Or(err, into.close())
}

// fetch downloads objects of one bucket into a tree.
func (c *copier) fetch(b *batch, jobs []job, into *localTree) error {
	objects := make([]uplink.Object, len(jobs))
	for i := range jobs {
		objects[i] = jobs[i].object
		b.count()
	}
	c.p.DownloadAll(b.ctx, jobs[0].from.bucket, objects, c.parallel, func(i int, d *uplink.Download, err error) {
		j, size := jobs[i], int64(0)
		if err == nil {
			size, err = c.receive(b.ctx, j, d, d.Object().Size, into)
		}
		if err != nil {
			b.fail(j.from.String(), err)
			return
		}
		c.show.did(event{Action: c.verb(), Source: j.from.String(), Target: j.to.String(), Size: &size})
	})
	return b.ctx.Err()
}

// copyTree copies on the satellite. What there is is found first, for copies
// may land below the source.
func (c *copier) copyTree(b *batch, from, to location, under string) error {
	var jobs []job
	err := c.objects(b, from, to, under, func(j job) error {
		if err := uplink.CheckKey(j.to.key); err != nil {
			b.refuse(j.from.String(), err)
			return nil
		}
		jobs = append(jobs, j)
		return nil
	})
	if err != nil && !errors.Is(err, uplink.ErrWrongKey) { // which says that some names cannot be read
		return err
	}
	for _, j := range jobs {
		if err := b.run(j.from.String(), func(ctx context.Context) error { return c.do(ctx, j, serverSide) }); err != nil {
			return err
		}
	}
	return err
}

// objects gives a job for each object below from. If there is none but an
// object of this very key, that is the one.
func (c *copier) objects(b *batch, from, to location, under string, each func(job) error) error {
	found := false
	list := uplink.ListOptions{Prefix: from.asDirKey(), Recursive: true, Unsorted: true, Places: !to.remote && !c.dryRun}
	for item, err := range c.p.List(b.ctx, from.bucket, list) {
		if err != nil {
			return err
		}
		found = true
		j := job{size: item.Object.Size, object: item.Object, rel: under + strings.TrimPrefix(item.Object.Key, list.Prefix)}
		j.from, j.to = location{remote: true, bucket: from.bucket, key: item.Object.Key}, to.join(j.rel)
		c.show.expect(j.size)
		if err := each(j); err != nil {
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
	return each(job{from: from, to: to.join(from.base()), size: o.Size, object: o, rel: from.base()})
}
