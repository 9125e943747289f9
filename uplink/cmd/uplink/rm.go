package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cairnstorage/cairn/uplink"
)

func (a *app) mb() *cobra.Command {
	return &cobra.Command{
		Use:   "mb URL...",
		Short: "Make buckets",
		Args:  args(1, -1, "the URL of a bucket"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.eachBucket(cmd, args, func(ctx context.Context, p *uplink.Project, name string) (any, error) {
				b, err := p.CreateBucket(ctx, name)
				if err == nil {
					a.say("made %s%s", scheme, name)
				}
				return bucketJSON{name, b.Created.UTC()}, err
			})
		},
	}
}

func (a *app) rb() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "rb URL...",
		Short: "Remove buckets",
		Args:  args(1, -1, "the URL of a bucket"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.eachBucket(cmd, args, func(ctx context.Context, p *uplink.Project, name string) (any, error) {
				err := p.DeleteBucket(ctx, name, force)
				if err == nil {
					a.say("removed %s%s", scheme, name)
				}
				return event{Action: "remove", Source: scheme + name}, err
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "delete the objects in it, too")
	return cmd
}

// eachBucket does something to each bucket named; what do returns is printed as
// JSON if that is asked for.
func (a *app) eachBucket(cmd *cobra.Command, args []string, do func(context.Context, *uplink.Project, string) (any, error)) error {
	buckets := make([]string, len(args))
	for i, arg := range args {
		var err error
		if buckets[i], err = parseBucket(arg); err != nil {
			return err
		}
	}
	return a.with(cmd, func(ctx context.Context, p *uplink.Project) error {
		list := newJSONList(a.out)
		for _, name := range buckets {
			done, err := do(ctx, p, name)
			if err != nil {
				_ = a.endList(list)
				return err
			}
			if a.json() {
				_ = list.add(done) // strings and times always marshal
			}
		}
		return a.endList(list)
	})
}

// remover carries out one rm.
type remover struct {
	p                        *uplink.Project
	show                     *display
	recursive, force, dryRun bool
}

func (a *app) rm() *cobra.Command {
	r := new(remover)
	cmd := &cobra.Command{
		Use:   "rm URL...",
		Short: "Delete objects",
		Long:  "Deletes objects, and with -r all that is below a prefix or in a bucket.",
		Args:  args(1, -1, "a URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var urls []location
			for _, arg := range args {
				l, err := r.parse(arg)
				if err != nil {
					return err
				}
				urls = append(urls, l)
			}
			return a.with(cmd, func(ctx context.Context, p *uplink.Project) error {
				r.p, r.show = p, a.newDisplay(showing{})
				err := r.all(ctx, urls)
				if endErr := r.show.end(); err == nil {
					err = endErr
				}
				return err
			})
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&r.recursive, "recursive", "r", false, "all that is below a prefix or in a bucket")
	f.BoolVarP(&r.force, "force", "f", false, "do not mind what does not exist")
	f.BoolVar(&r.dryRun, "dry-run", false, "only show what would be deleted")
	return cmd
}

func (r *remover) parse(arg string) (location, error) {
	l, err := parseURL(arg)
	switch {
	case err != nil:
		return l, err
	case l.bucket == "":
		return l, usagef("%q names all buckets; give one", arg)
	case l.key == "" && !r.recursive:
		return l, usagef("%q is a bucket: delete what is in it with rm -r, or the bucket with rb", arg)
	case l.key != "":
		err = uplink.CheckKey(l.key)
	}
	return l, err
}

// all deletes what each URL names. One that names nothing does not keep the
// others.
func (r *remover) all(ctx context.Context, urls []location) error {
	report := failures{total: len(urls), doing: "deleted"}
	for _, l := range urls {
		err := r.one(ctx, l)
		if r.recursive && (err == nil || errors.Is(err, uplink.ErrObjectNotFound)) {
			err = r.tree(ctx, l, err == nil && l.key != "")
		}
		switch {
		case err == nil, r.force && errors.Is(err, uplink.ErrObjectNotFound):
		case len(urls) == 1 || !errors.Is(err, uplink.ErrObjectNotFound):
			return err
		default:
			report.add(err)
			r.show.note("%s", printable(err.Error()))
		}
	}
	if report.failed > 0 {
		return &report
	}
	return nil
}

// one deletes the object of this very key.
func (r *remover) one(ctx context.Context, l location) error {
	if l.key == "" || r.recursive && l.isDir() {
		return nil
	}
	var err error
	if r.dryRun {
		_, err = r.p.Stat(ctx, l.bucket, l.key)
	} else {
		err = r.p.Delete(ctx, l.bucket, l.key)
	}
	if err == nil {
		r.did(l)
	}
	return err
}

func (r *remover) did(l location) {
	r.show.did(event{Action: "delete", Source: l.String(), DryRun: r.dryRun})
}

// deleteBatch is how many objects are deleted in one go.
const deleteBatch = 1000

// tree deletes all that is below a location. Nothing there is an error unless
// something was found before.
func (r *remover) tree(ctx context.Context, l location, found bool) error {
	keys := make([]string, 0, deleteBatch)
	list := uplink.ListOptions{Prefix: l.asDirKey(), Recursive: true, Unsorted: true}
	var foreign error // names that cannot be read, which comes last
	for item, err := range r.p.List(ctx, l.bucket, list) {
		if errors.Is(err, uplink.ErrWrongKey) {
			foreign = err
			break
		}
		if err != nil {
			return err
		}
		found = true
		if keys = append(keys, item.Object.Key); len(keys) == deleteBatch {
			prepareForMuch()
			if err := r.delete(ctx, l.bucket, keys); err != nil {
				return err
			}
			keys = keys[:0]
		}
	}
	if err := r.delete(ctx, l.bucket, keys); err != nil {
		return err
	}
	if foreign == nil && !found && l.key != "" {
		return errNothingBelow(l)
	}
	return foreign
}

func (r *remover) delete(ctx context.Context, bucket string, keys []string) error {
	if !r.dryRun && len(keys) > 0 {
		if _, err := r.p.DeleteMany(ctx, bucket, keys); err != nil {
			return err
		}
	}
	for _, key := range keys {
		r.did(location{remote: true, bucket: bucket, key: key})
	}
	return nil
}

func (a *app) cat() *cobra.Command {
	var rangeText string
	cmd := &cobra.Command{
		Use:   "cat URL...",
		Short: "Print objects",
		Args:  args(1, -1, "the URL of an object"),
		RunE: func(cmd *cobra.Command, args []string) error {
			part := wholeRange
			if rangeText != "" {
				var err error
				if part, err = parseRange(rangeText); err != nil {
					return err
				}
			}
			var objects []location
			for _, arg := range args {
				l, err := parseObject(arg)
				if err != nil {
					return err
				}
				objects = append(objects, l)
			}
			return a.with(cmd, func(ctx context.Context, p *uplink.Project) error {
				for _, l := range objects {
					if err := a.print(ctx, p, l, part); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&rangeText, "range", "", "only the bytes `FIRST-LAST`, FIRST- or -COUNT of each")
	return cmd
}

func (a *app) print(ctx context.Context, p *uplink.Project, l location, part byteRange) error {
	d, length, err := openPart(ctx, p, l, part)
	if err != nil {
		return err
	}
	defer d.Close()
	if _, err = get(d, a.out, length); err != nil {
		return fmt.Errorf("print %s: %w", l, changed(ctx, p, l, d.Object(), err))
	}
	return nil
}
