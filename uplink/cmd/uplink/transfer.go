package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cairnstorage/cairn/uplink"
)

// verb is what a job is called in what is shown.
func (c *copier) verb() string {
	if c.move {
		return "move"
	}
	return "copy"
}

// do carries out one job and shows it. A download that is part of a tree goes
// into that.
func (c *copier) do(ctx context.Context, j job, way direction, into *localTree) error {
	e := event{Action: c.verb(), Source: j.from.String(), Target: j.to.String(), Size: max(j.size, 0), DryRun: c.dryRun}
	if c.dryRun {
		if way != upload && j.size < 0 { // the source is not known to exist
			o, err := c.p.Stat(ctx, j.from.bucket, j.from.key)
			if err != nil {
				return err
			}
			e.Size = o.Size
		}
		c.show.did(e)
		return nil
	}
	var err error
	switch way {
	case upload:
		e.Size, err = c.upload(ctx, j)
	case download:
		e.Size, err = c.download(ctx, j, into)
	default:
		e.Size, err = c.serverSide(ctx, j)
	}
	if err == nil {
		c.show.did(e)
	}
	return err
}

// upload copies a local file or standard input to an object.
func (c *copier) upload(ctx context.Context, j job) (size int64, err error) {
	in := c.a.in
	if !j.from.std {
		file, err := os.Open(j.from.path)
		if err != nil {
			return 0, err
		}
		defer file.Close()
		in = file
	}
	if j.size < 0 { // a pipe or terminal, which may keep us waiting
		in = &contextReader{ctx: ctx, r: in}
	}
	m := c.show.meter(j.from.String(), j.size)
	defer func() { m.done(err) }()
	o := uplink.UploadOptions{Metadata: c.meta, Size: j.size, Modified: j.modified}
	if size, err = put(ctx, c.p, j.to, o, m.reader(in)); err != nil {
		return 0, err
	}
	if c.move {
		return size, os.Remove(j.from.path)
	}
	return size, nil
}

// put makes an object of all that in yields, or nothing.
func put(ctx context.Context, p *uplink.Project, to location, o uplink.UploadOptions, in io.Reader) (int64, error) {
	up, err := p.Upload(ctx, to.bucket, to.key, o)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(up, in)
	if err == nil && n < o.Size {
		err = fmt.Errorf("the file became shorter while it was read: %d bytes instead of %d", n, o.Size)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = up.Abort() // why it failed matters more
		return n, err
	}
	_, err = up.Commit(ctx)
	return n, err
}

// download copies an object, or a range of it, to a file or standard output.
func (c *copier) download(ctx context.Context, j job, into *localTree) (size int64, err error) {
	d, length, err := c.open(ctx, j.from)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	m := c.show.meter(j.from.String(), length)
	defer func() { m.done(err) }()
	if j.to.std {
		return get(d, m.writer(c.a.out), length)
	}
	out, err := j.output(into)
	if err != nil {
		return 0, err
	}
	defer out.discard()
	out.modified = d.Object().Modified
	if size, err = get(d, m.writer(out.File), length); err != nil {
		return 0, err
	}
	if err := out.keep(); err != nil {
		return 0, err
	}
	if c.move {
		return size, c.p.Delete(ctx, j.from.bucket, j.from.key)
	}
	return size, nil
}

// open begins to read the part of an object that is asked for, and says how
// long it is.
func (c *copier) open(ctx context.Context, from location) (*uplink.Download, int64, error) {
	return openPart(ctx, c.p, from, c.part)
}

func openPart(ctx context.Context, p *uplink.Project, from location, part byteRange) (*uplink.Download, int64, error) {
	if part == wholeRange {
		d, err := p.Download(ctx, from.bucket, from.key, uplink.DownloadOptions{})
		if err != nil {
			return nil, 0, err
		}
		return d, d.Object().Size, nil
	}
	// A range may count from the end, so the size comes first.
	o, err := p.Stat(ctx, from.bucket, from.key)
	if err != nil {
		return nil, 0, err
	}
	offset, length, err := part.resolve(o.Size)
	if err != nil {
		return nil, 0, err
	}
	d, err := p.Download(ctx, from.bucket, from.key, uplink.DownloadOptions{Offset: offset, Length: length})
	if err != nil {
		return nil, 0, err
	}
	if got := d.Object(); got.Size != o.Size || !got.Created.Equal(o.Created) {
		d.Close()
		return nil, 0, fmt.Errorf("%s was replaced in this moment; try again", from)
	}
	return d, length, nil
}

// get writes all that d yields and sees to it that nothing is missing.
func get(d *uplink.Download, w io.Writer, length int64) (int64, error) {
	if length == 0 {
		return 0, nil
	}
	n, err := io.Copy(w, d)
	if err == nil && n != length {
		err = fmt.Errorf("%w: %d bytes came instead of %d", uplink.ErrCorrupt, n, length)
	}
	return n, err
}

// serverSide copies or moves an object on the satellite.
func (c *copier) serverSide(ctx context.Context, j job) (int64, error) {
	do := c.p.Copy
	if c.move {
		do = c.p.Move
	}
	o, err := do(ctx, j.from.bucket, j.from.key, j.to.bucket, j.to.key, uplink.CopyOptions{Metadata: c.meta})
	return o.Size, err
}

const fileMode = 0o666 // less the user's mask

// output begins the file that a download makes.
func (j job) output(into *localTree) (*partial, error) {
	if into != nil {
		return into.create(j.rel, fileMode)
	}
	return openOutput(j.to.path)
}

// openOutput begins the file at path. A device or pipe is written as it is.
func openOutput(path string) (*partial, error) {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	}
	if info, err := os.Stat(path); err == nil && info.Mode()&(fs.ModeDevice|fs.ModeNamedPipe) != 0 {
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		return &partial{File: file}, err
	}
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	return createPartial(dir, name, fileMode)
}
