package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstorage/cairn/uplink"
)

func errNothingBelow(l location) error {
	return fmt.Errorf("nothing there begins with %s: %w", l, uplink.ErrObjectNotFound)
}

func (a *app) ls() *cobra.Command {
	var o uplink.ListOptions
	cmd := &cobra.Command{
		Use:   "ls [URL]",
		Short: "List buckets, or what is in one",
		Long: `Lists buckets, or the objects and prefixes whose names begin with that of the
URL, ordered by name. The time shown is that of the upload.`,
		Args: args(0, 1, "at most one URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			l := location{remote: true}
			if len(args) == 1 {
				var err error
				if l, err = parseURL(args[0]); err != nil {
					return err
				}
			}
			o.Prefix = l.key
			return a.with(cmd, func(ctx context.Context, p *uplink.Project) error {
				if l.bucket == "" {
					return a.listBuckets(ctx, p)
				}
				return a.listObjects(ctx, p, l, o)
			})
		},
	}
	cmd.Flags().BoolVarP(&o.Recursive, "recursive", "r", false, "all levels, not one")
	cmd.Flags().BoolVar(&o.Metadata, "metadata", false, "with -o json, also modification times and metadata")
	cmd.Flags().BoolVar(&o.Unsorted, "unsorted", false, "in no order, which begins at once and takes little memory")
	return cmd
}

type bucketJSON struct {
	Bucket  string    `json:"bucket"`
	Created time.Time `json:"created"`
}

func (a *app) listBuckets(ctx context.Context, p *uplink.Project) error {
	list := newJSONList(a.out)
	for b, err := range p.Buckets(ctx) {
		switch {
		case err != nil:
			return err
		case a.json():
			list.add(bucketJSON{b.Name, b.Created.UTC()})
		default:
			fmt.Fprintf(list.w, "%s  %s%s\n", stamp(b.Created), scheme, b.Name)
		}
	}
	return a.endList(list)
}

func (a *app) listObjects(ctx context.Context, p *uplink.Project, l location, o uplink.ListOptions) error {
	list := newJSONList(a.out)
	found := false
	if o.Recursive {
		prepareForMuch()
	}
	for item, err := range p.List(ctx, l.bucket, o) {
		if err != nil {
			_ = a.endList(list)
			return err
		}
		found = true
		switch {
		case a.json() && item.IsPrefix():
			list.add(objectJSON{Prefix: item.Prefix})
		case a.json():
			list.add(toJSON(item.Object))
		case item.IsPrefix():
			fmt.Fprintf(list.w, "%19s  %12s  %s\n", "", "-", printable(item.Prefix))
		default:
			fmt.Fprintf(list.w, "%s  %12d  %s\n", stamp(item.Object.Created), item.Object.Size, printable(item.Object.Key))
		}
	}
	if err := a.endList(list); err != nil {
		return err
	}
	if !found && l.key != "" {
		return errNothingBelow(l)
	}
	return nil
}

func (a *app) endList(list *jsonList) error {
	if a.json() {
		return list.end()
	}
	return list.w.Flush()
}

func (a *app) stat() *cobra.Command {
	return &cobra.Command{
		Use:   "stat URL",
		Short: "Show what is known of an object or bucket",
		Args:  args(1, 1, "one URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := parseURL(args[0])
			if err != nil {
				return err
			}
			if l.bucket == "" {
				return usagef("%q names no object or bucket", args[0])
			}
			return a.with(cmd, func(ctx context.Context, p *uplink.Project) error {
				if l.key == "" {
					return a.statBucket(ctx, p, l.bucket)
				}
				return a.statObject(ctx, p, l)
			})
		},
	}
}

func (a *app) statBucket(ctx context.Context, p *uplink.Project, name string) error {
	for b, err := range p.Buckets(ctx) {
		switch {
		case err != nil:
			return err
		case b.Name != name:
			continue
		case a.json():
			return a.printJSON(bucketJSON{b.Name, b.Created.UTC()})
		}
		fmt.Fprintf(a.out, "bucket    %s\ncreated   %s\n", b.Name, stamp(b.Created))
		return nil
	}
	return fmt.Errorf("stat %s%s: %w", scheme, name, uplink.ErrBucketNotFound)
}

func (a *app) statObject(ctx context.Context, p *uplink.Project, l location) error {
	o, err := p.Stat(ctx, l.bucket, l.key)
	if err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(toJSON(o))
	}
	fmt.Fprintf(a.out, "object    %s\nsize      %d (%s)\ncreated   %s\nmodified  %s\nsegments  %d\n",
		printable(l.String()), o.Size, bytesText(o.Size), stamp(o.Created), stamp(o.Modified), o.Segments)
	for _, name := range slices.Sorted(maps.Keys(o.Metadata)) {
		fmt.Fprintf(a.out, "metadata  %s=%s\n", printable(name), printable(o.Metadata[name]))
	}
	return nil
}

// usage is what du counts.
type usage struct {
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

func (a *app) du() *cobra.Command {
	return &cobra.Command{
		Use:   "du [URL]",
		Short: "Count objects and bytes",
		Long:  "Counts the objects whose names begin with that of the URL, and their bytes; without one, those of all buckets.",
		Args:  args(0, 1, "at most one URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			l := location{remote: true}
			if len(args) == 1 {
				var err error
				if l, err = parseURL(args[0]); err != nil {
					return err
				}
			}
			return a.with(cmd, func(ctx context.Context, p *uplink.Project) error { return a.printUsage(ctx, p, l) })
		},
	}
}

func (a *app) printUsage(ctx context.Context, p *uplink.Project, l location) error {
	var u usage
	err := u.all(ctx, p, l)
	switch {
	case err != nil && !errors.Is(err, uplink.ErrWrongKey): // which says that some names were left out
		return err
	case err == nil && u.Objects == 0 && l.key != "":
		return errNothingBelow(l)
	case a.json():
		return errors.Join(a.printJSON(u), err)
	}
	fmt.Fprintf(a.out, "%s, %d bytes (%s)\n", count(u.Objects, "object"), u.Bytes, bytesText(u.Bytes))
	return err
}

// all counts what is below a location, or in all buckets.
func (u *usage) all(ctx context.Context, p *uplink.Project, l location) error {
	if l.bucket != "" {
		return u.add(ctx, p, l)
	}
	var foreign error
	for b, err := range p.Buckets(ctx) {
		if err == nil {
			err = u.add(ctx, p, location{remote: true, bucket: b.Name})
		}
		if err != nil && !errors.Is(err, uplink.ErrWrongKey) {
			return err
		}
		if foreign == nil {
			foreign = err
		}
	}
	return foreign
}

func (u *usage) add(ctx context.Context, p *uplink.Project, l location) error {
	for item, err := range p.List(ctx, l.bucket, uplink.ListOptions{Prefix: l.key, Recursive: true, Unsorted: true}) {
		if err != nil {
			return err
		}
		u.Objects++
		u.Bytes += item.Object.Size
	}
	return nil
}
