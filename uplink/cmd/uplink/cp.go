package main

import (
	"context"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairnstorage/cairn/uplink"
)

// copyOptions are the flags of cp and mv.
type copyOptions struct {
	recursive bool
	parallel  int
	rangeText string
	dryRun    bool
	metadata  []string
}

const (
	defaultParallel = 16
	maxParallel     = 256
)

const copyHelp = `Source and target are local paths, URLs cairn://BUCKET/KEY, or - for standard
input or output. A target that ends in a slash, is a bucket, or exists as a
directory takes the source in under its own name.

With -r all that is below a directory or prefix goes below the target, which is
made if it does not exist: 'uplink cp -r photos cairn://b/2026/' makes
cairn://b/2026/a.jpg of photos/a.jpg. Of several sources, each goes below its own
name there. Symbolic links and special files are skipped. Between two URLs the
satellite copies, and no data moves. Small files are stored together: that is
fast, and each is an object of its own all the same.

A downloaded file takes its place when it is whole; nothing is left of one that
fails or is interrupted. Only a process that is killed (kill -9) leaves a file
named .cairn-*.part beside the target, which may be deleted. Times of
modification are kept.`

const moveHelp = `Copies like cp and removes each source once its copy is safe, a file on the disk;
between two URLs in one step. A source that changes meanwhile is left in place.

`

func (a *app) cp() *cobra.Command {
	o := new(copyOptions)
	cmd := &cobra.Command{
		Use:   "cp SOURCE... TARGET",
		Short: "Copy files to objects, objects to files, or objects to objects",
		Long:  "Copies files to objects, objects to files, or objects to objects.\n\n" + copyHelp,
		Args:  args(2, -1, "a source and a target"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.copy(cmd, args, o, false)
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&o.rangeText, "range", "", "download only the bytes `FIRST-LAST`, FIRST- or -COUNT")
	return cmd
}

func (a *app) mv() *cobra.Command {
	o := new(copyOptions)
	cmd := &cobra.Command{
		Use:   "mv SOURCE... TARGET",
		Short: "Move files or objects",
		Long:  moveHelp + copyHelp,
		Args:  args(2, -1, "a source and a target"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.copy(cmd, args, o, true)
		},
	}
	o.flags(cmd)
	return cmd
}

func (o *copyOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVarP(&o.recursive, "recursive", "r", false, "all that is below a directory or prefix")
	f.IntVar(&o.parallel, "parallel", defaultParallel, "files or objects at a time")
	f.BoolVar(&o.dryRun, "dry-run", false, "only show what would be done")
	f.StringArrayVar(&o.metadata, "metadata", nil, "`NAME=VALUE` to keep with each object; may be repeated")
}

// copier carries out one command.
type copier struct {
	a    *app
	p    *uplink.Project
	show *display

	copyOptions
	move bool
	part byteRange
	meta map[string]string

	batch  *batch         // of many jobs
	packer *uplink.Packer // takes the small files of these; nil when nothing is uploaded
}

func (a *app) copy(cmd *cobra.Command, args []string, o *copyOptions, move bool) error {
	c := &copier{a: a, copyOptions: *o, move: move}
	sources, to, way, err := c.parse(args)
	if err != nil {
		return err
	}
	return a.with(cmd, func(ctx context.Context, p *uplink.Project) error {
		c.p = p
		c.show = a.newDisplay(showing{
			bytes: way != serverSide && !c.dryRun,
			many:  c.recursive || len(sources) > 1,
			mute:  to.std,
		})
		err := c.all(ctx, sources, to, way)
		if endErr := c.show.end(); err == nil {
			err = endErr
		}
		return err
	})
}

// parse checks the whole command line before anything is done.
func (c *copier) parse(args []string) (sources []location, to location, way direction, err error) {
	if to, err = parseLocation(args[len(args)-1]); err != nil {
		return
	}
	for _, arg := range args[:len(args)-1] {
		from, err := parseLocation(arg)
		if err != nil {
			return nil, to, 0, err
		}
		sources = append(sources, from)
	}
	if way, err = checkCopy(sources, to, c.recursive); err != nil {
		return
	}
	c.part = wholeRange
	if c.rangeText != "" {
		if way != download || c.recursive || len(sources) > 1 {
			return nil, to, 0, usagef("--range is for the download of one object")
		}
		if c.part, err = parseRange(c.rangeText); err != nil {
			return
		}
	}
	if c.parallel < 1 || c.parallel > maxParallel {
		return nil, to, 0, usagef("--parallel is a number from 1 to %d", maxParallel)
	}
	if c.move && sources[0].std {
		return nil, to, 0, usagef("standard input cannot be moved")
	}
	if c.move && to.std {
		return nil, to, 0, usagef("an object cannot be moved to standard output")
	}
	c.meta, err = parseMetadata(c.metadata)
	if err == nil && c.meta != nil && way == download {
		err = usagef("--metadata is for objects, not for files")
	}
	return
}

func parseMetadata(pairs []string) (map[string]string, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	metadata := make(map[string]string)
	for _, pair := range pairs {
		name, value, found := strings.Cut(pair, "=")
		if !found || name == "" {
			return nil, usagef("metadata %q: write NAME=VALUE", pair)
		}
		metadata[name] = value
	}
	return metadata, nil
}

// all copies every source.
func (c *copier) all(ctx context.Context, sources []location, to location, way direction) error {
	isDir := false
	if way == download && !to.std {
		info, err := os.Stat(to.path)
		isDir = err == nil && info.IsDir()
	}
	if len(sources) > 1 && !isDir && !to.isDir() && !c.recursive {
		return usagef("several sources need a directory as target; write %s", to.asDir())
	}
	doing := "copied"
	if c.move {
		doing = "moved"
	}
	if len(sources) == 1 && !c.recursive {
		return c.one(ctx, sources[0], to, isDir, way)
	}
	if way != serverSide {
		prepareFor(-1)
	}
	b := newBatch(ctx, c.parallel, c.show, doing)
	b.writes, c.batch = way == upload, b
	if way == upload {
		c.packer = c.p.NewPacker(b.ctx)
	}
	var err error
	for _, from := range sources {
		if !c.recursive {
			err = b.run(from.String(), func(ctx context.Context) error { return c.one(ctx, from, to, isDir, way) })
		} else {
			err = c.tree(b, from, to, way, len(sources) > 1)
		}
		if err != nil {
			break
		}
	}
	if c.packer != nil {
		_ = b.group.Wait()   // which adds to it
		_ = c.packer.Flush() // what fails is reported one by one
	}
	return b.wait(err)
}

// one copies a single file or object.
func (c *copier) one(ctx context.Context, from, to location, isDir bool, way direction) error {
	to, err := target(from, to, isDir)
	if err != nil {
		return err
	}
	j := job{from: from, to: to, size: -1}
	if way == upload && !from.std {
		if err := j.statLocal(c.move); err != nil {
			return err
		}
	}
	for _, l := range []location{from, to} {
		if l.remote {
			if err := uplink.CheckKey(l.key); err != nil {
				return err
			}
		}
	}
	return c.do(ctx, j, way)
}

// statLocal fills in what is known of a local source.
func (j *job) statLocal(move bool) error {
	info, err := os.Stat(j.from.path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return usagef("%s is a directory; copy what is below it with -r", j.from)
	}
	if why := special(info.Mode()); move && why != "" {
		return usagef("%s is %s, which cannot be moved", j.from, why)
	}
	if info.Mode().IsRegular() {
		j.size = info.Size()
	}
	j.modified = info.ModTime()
	return nil
}
