package main

import (
	"context"
	"errors"
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

// do carries out one job and shows it.
func (c *copier) do(ctx context.Context, j job, way direction) error {
	size := max(j.size, 0)
	e := event{Action: c.verb(), Source: j.from.String(), Target: j.to.String(), Size: &size, DryRun: c.dryRun}
	if c.dryRun {
		if way != upload && j.size < 0 { // the source is not known to exist
			o, err := c.p.Stat(ctx, j.from.bucket, j.from.key)
			if err != nil {
				return err
			}
			size = o.Size
		}
		c.show.did(e)
		return nil
	}
	if way == upload && c.packer != nil && 0 <= j.size && j.size <= uplink.MaxPacked {
		return c.pack(j, e)
	}
	var err error
	switch way {
	case upload:
		size, err = c.upload(ctx, j)
	case download:
		size, err = c.download(ctx, j)
	default:
		size, err = c.serverSide(ctx, j)
	}
	if err == nil {
		c.show.did(e)
	}
	return err
}

// upload copies a local file or standard input to an object.
func (c *copier) upload(ctx context.Context, j job) (size int64, err error) {
	in := c.a.in
	var read fs.FileInfo // the file as it was when it was opened
	if !j.from.std {
		file, err := os.Open(j.from.path)
		if err != nil {
			return 0, err
		}
		defer file.Close()
		if read, err = file.Stat(); err != nil {
			return 0, err
		}
		in = file
	}
	if j.size < 0 { // a pipe or terminal, which may keep us waiting
		in = &contextReader{ctx: ctx, r: in}
	} else {
		in = &wholeReader{r: in, left: j.size}
	}
	prepareFor(j.size)
	m := c.show.meter(j.from.String(), j.size)
	defer func() { m.done(err) }()
	o := uplink.UploadOptions{Metadata: c.meta, Size: j.size, Modified: j.modified}
	if size, err = put(ctx, c.p, j.to, o, m.reader(in)); err != nil {
		return 0, err
	}
	if c.move {
		return size, removeRead(j.from.path, read)
	}
	return size, nil
}

// pack copies a small local file to an object, together with others. It returns
// when the file is read; what came of it is shown once that is known.
func (c *copier) pack(j job, e event) error {
	file, err := os.Open(j.from.path)
	if err != nil {
		return err
	}
	defer file.Close()
	read, err := file.Stat()
	if err != nil {
		return err
	}
	m := c.show.meter(j.from.String(), j.size)
	in := &wholeReader{r: m.reader(file), left: j.size}
	o := uplink.UploadOptions{Metadata: c.meta, Size: j.size, Modified: j.modified}
	err = c.packer.Add(j.to.bucket, j.to.key, in, o, func(object uplink.Object, err error) {
		if err == nil && c.move {
			err = removeRead(j.from.path, read)
		}
		m.done(err)
		if err != nil {
			c.batch.fail(j.from.String(), err)
			return
		}
		*e.Size = object.Size
		c.show.did(e)
	})
	if err != nil {
		m.done(err)
	}
	return err
}

// removeRead removes a file that was read, unless its name leads to something
// else by now or it was written to.
func removeRead(path string, read fs.FileInfo) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody else has removed it
	}
	if err != nil {
		return err
	}
	if !os.SameFile(info, read) || info.Size() != read.Size() || !info.ModTime().Equal(read.ModTime()) {
		return fmt.Errorf("%s was changed while it was copied: it is left in place, move it again", path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("it is copied, but still there: %w", err)
	}
	return nil
}

// put makes an object of all that in yields, or nothing.
func put(ctx context.Context, p *uplink.Project, to location, o uplink.UploadOptions, in io.Reader) (int64, error) {
	up, err := p.Upload(ctx, to.bucket, to.key, o)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(up, in)
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
func (c *copier) download(ctx context.Context, j job) (size int64, err error) {
	d, length, err := c.open(ctx, j.from)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	return c.receive(ctx, j, d, length, nil)
}

// receive writes so many bytes of an object, all that d yields, to where the job
// says; of a tree, into that.
func (c *copier) receive(ctx context.Context, j job, d *uplink.Download, length int64, into *localTree) (size int64, err error) {
	m := c.show.meter(j.from.String(), length)
	defer func() { m.done(err) }()
	if j.to.std {
		size, err = get(d, m.writer(c.a.out), length)
		return size, changed(ctx, c.p, j.from, d.Object(), err)
	}
	out, err := c.output(j, into)
	if err != nil {
		return 0, err
	}
	defer out.discard()
	out.modified = d.Object().Modified
	if size, err = get(d, m.writer(out.File), length); err != nil {
		return 0, out.named(changed(ctx, c.p, j.from, d.Object(), err))
	}
	if err := out.keep(); err != nil {
		return 0, out.named(err)
	}
	if c.move {
		err = deleteRead(ctx, c.p, j.from, d.Object())
	}
	return size, err
}

// deleteRead deletes an object that was read, unless another has taken its
// place.
func deleteRead(ctx context.Context, p *uplink.Project, from location, o uplink.Object) error {
	err := p.DeleteVersion(ctx, from.bucket, o)
	if errors.Is(err, uplink.ErrObjectChanged) {
		return fmt.Errorf("%s was replaced while it was copied: the new object is left in place, move it again", from)
	}
	return err
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
		return nil, 0, fmt.Errorf("%s: %w", from, err)
	}
	d, err := p.Download(ctx, from.bucket, from.key, uplink.DownloadOptions{Offset: offset, Length: length})
	if err != nil {
		return nil, 0, err
	}
	if d.Object().Version != o.Version {
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
	prepareFor(length)
	n, err := io.Copy(w, d)
	if err == nil && n != length {
		err = fmt.Errorf("%w: %d bytes came instead of %d", uplink.ErrCorrupt, n, length)
	}
	return n, err
}

// changed finds out whether a download failed because the object, and with it
// its segments, were deleted meanwhile.
func changed(ctx context.Context, p *uplink.Project, from location, o uplink.Object, err error) error {
	if !errors.Is(err, uplink.ErrTooFewNodes) {
		return err
	}
	present, statErr := p.Stat(ctx, from.bucket, from.key)
	switch {
	case errors.Is(statErr, uplink.ErrObjectNotFound):
		return fmt.Errorf("%s was deleted while it was read: %w", from, statErr)
	case statErr == nil && present.Version != o.Version:
		return fmt.Errorf("%s was replaced while it was read; try again", from)
	}
	return err
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

// output begins the file that a download makes. It has to be on the disk before
// a move deletes the object.
func (c *copier) output(j job, into *localTree) (*partial, error) {
	if into != nil {
		return into.create(j.rel, fileMode)
	}
	return openOutput(j.to.path, c.move)
}

// openOutput begins the file at path. A device or pipe is written as it is,
// unless the file is to be durable.
func openOutput(path string, durable bool) (*partial, error) {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	}
	if info, err := os.Stat(path); err == nil && info.Mode()&(fs.ModeDevice|fs.ModeNamedPipe) != 0 {
		if durable {
			return nil, fmt.Errorf("%s is %s, which keeps nothing: copy to it", path, special(info.Mode()))
		}
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		return &partial{File: file}, err
	}
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	if err := makeDirs(dir, durable); err != nil {
		return nil, err
	}
	return createPartial(dir, name, fileMode, durable)
}
