package uplink

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/uplink/internal/names"
)

// ListOptions says what of a bucket to list. The zero value lists the top
// level, sorted.
type ListOptions struct {
	Prefix    string // only what begins with it; it may end within a name
	Recursive bool   // all levels, not one
	Unsorted  bool   // yield items as they come, in no order and with little memory
	Metadata  bool   // fill in Modified and Metadata, for some more work
	Places    bool   // find out, too, where small files are, for DownloadAll; and Metadata of these
}

// Item is an object, or a prefix that deeper objects share.
type Item struct {
	Object Object
	Prefix string // ends in a slash; when set there is no Object
}

// Name is the object's key or the prefix.
func (i Item) Name() string {
	if i.Prefix != "" {
		return i.Prefix
	}
	return i.Object.Key
}

// IsPrefix tells a prefix from an object.
func (i Item) IsPrefix() bool { return i.Prefix != "" }

// maxSorted is how many items are held to be sorted before a recursive list
// goes level by level, which takes a call for each.
const maxSorted = 200_000

// List yields what is in a bucket, ordered by the bytes of the plaintext names
// unless Unsorted. An error ends it: ErrBucketNotFound. Names that were written
// under another passphrase are left out; that there are any is said at the end,
// by ErrWrongKey.
func (p *Project) List(ctx context.Context, bucket string, o ListOptions) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		err := p.list(ctx, bucket, o, func(item Item) bool { return yield(item, nil) })
		if err != nil && !errors.Is(err, errStopped) {
			yield(Item{}, at(err, "list", bucket, o.Prefix))
		}
	}
}

// errStopped ends a list whose caller wants no more.
var errStopped = errors.New("list stopped")

func (p *Project) list(ctx context.Context, bucket string, o ListOptions, yield func(Item) bool) error {
	cipher, err := p.names(bucket)
	if err != nil {
		return err
	}
	l := lister{ctx: ctx, p: p, bucket: bucket, cipher: cipher, o: o, yield: yield, maxSorted: maxSorted}
	if err := names.CheckPrefix(o.Prefix); err != nil {
		return err
	}
	dir := o.Prefix[:strings.LastIndexByte(o.Prefix, '/')+1]
	if o.Recursive && dir == o.Prefix {
		err = l.tree(dir)
	} else {
		err = l.level(dir, o.Prefix)
	}
	if err == nil && l.foreign > 0 {
		err = fmt.Errorf("%w: %d of %d names do not decrypt; use the access grant that they were uploaded with, or one made with the same passphrase",
			ErrWrongKey, l.foreign, l.read)
	}
	return err
}

// lister walks one bucket for one call of List.
type lister struct {
	ctx       context.Context
	p         *Project
	bucket    string
	cipher    *names.Bucket
	o         ListOptions
	yield     func(Item) bool
	maxSorted int

	read, foreign int // names, and those of them that do not decrypt
}

func (l *lister) emit(items ...Item) error {
	for _, item := range items {
		if !l.yield(item) {
			return errStopped
		}
	}
	return nil
}

// level lists the names directly in dir that begin with prefix; when the list
// is recursive it descends where they end in a slash.
func (l *lister) level(dir, prefix string) error {
	var items []Item
	err := l.pages(dir, false, func(item Item) error {
		switch {
		case !strings.HasPrefix(item.Name(), prefix):
			return nil
		case l.o.Unsorted:
			return l.descend(item)
		}
		items = append(items, item)
		return nil
	})
	if err != nil {
		return err
	}
	sortItems(items)
	for _, item := range items {
		if err := l.descend(item); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) descend(item Item) error {
	if item.IsPrefix() && l.o.Recursive {
		return l.tree(item.Prefix)
	}
	return l.emit(item)
}

// errTooMany says that a tree is too large to be sorted at once.
var errTooMany = errors.New("too many items to sort")

// tree lists all objects below dir.
func (l *lister) tree(dir string) error {
	if l.o.Unsorted {
		return l.pages(dir, true, func(item Item) error { return l.emit(item) })
	}
	var items []Item
	read, foreign := l.read, l.foreign
	err := l.pages(dir, true, func(item Item) error {
		if len(items) >= l.maxSorted {
			return errTooMany
		}
		items = append(items, item)
		return nil
	})
	if errors.Is(err, errTooMany) {
		items, l.read, l.foreign = nil, read, foreign
		return l.level(dir, dir)
	}
	if err != nil {
		return err
	}
	sortItems(items)
	return l.emit(items...)
}

func sortItems(items []Item) {
	slices.SortFunc(items, func(a, b Item) int { return cmp.Compare(a.Name(), b.Name()) })
}

// pages gives every item that the satellite lists in dir, decrypted.
func (l *lister) pages(dir string, recursive bool, each func(Item) error) error {
	sealed, _, err := l.cipher.EncryptDir(dir)
	if err != nil {
		return err
	}
	req := &pb.ListObjectsRequest{Bucket: l.bucket, Prefix: sealed, Recursive: recursive,
		WithMetadata: l.o.Metadata || l.o.Places, WithExtents: l.o.Places, WithInline: l.o.Places}
	return l.p.listPages(l.ctx, req, func(res *pb.ListObjectsResponse) error {
		places := placesOf(res)
		for _, found := range res.Items {
			item, err := l.item(dir, found)
			if err == nil && l.o.Places {
				l.locate(&item.Object, found, places)
			}
			l.read++
			if errors.Is(err, names.ErrKey) {
				l.foreign++
				continue
			}
			if err == nil && item.Name()+"/" == dir {
				continue // an object named like the directory, without its slash
			}
			if err == nil {
				err = each(item)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// placesOf is the segments that a page tells of, by id.
func placesOf(res *pb.ListObjectsResponse) map[string]*pb.SegmentPlace {
	places := make(map[string]*pb.SegmentPlace, len(res.Segments))
	for _, place := range res.Segments {
		places[string(place.GetId())] = place
	}
	return places
}

// locate notes where an object is, if the page tells and the object can be opened.
// Whoever downloads others finds out what is wrong with them.
func (l *lister) locate(object *Object, found *pb.ListItem, places map[string]*pb.SegmentPlace) {
	if found.Object == nil || found.Extent == nil && len(found.Object.Inline) == 0 {
		return
	}
	content, secret, err := openSecret(l.cipher.Metadata(object.Key), object.Key, found.Object)
	if err != nil {
		return
	}
	*object = objectOf(object.Key, found.Object, secret)
	object.listed = listedOf(found.Object, content, secret.Packed, found.Extent, places[string(found.Extent.GetSegment())])
}

// listPages gives each page of a satellite's list. The next one is on its way
// meanwhile.
func (p *Project) listPages(ctx context.Context, req *pb.ListObjectsRequest, each func(*pb.ListObjectsResponse) error) error {
	fetching, cancel := context.WithCancel(ctx)
	fetched := make(chan page)
	go p.fetchPages(fetching, fetched, req)
	defer func() {
		cancel()
		for range fetched { // until the fetching has ended
		}
	}()
	for next := range fetched {
		err := next.err
		if err == nil {
			err = each(next.res)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// page is what one call brought.
type page struct {
	res *pb.ListObjectsResponse
	err error
}

// fetchPages gets page after page until the last, an error or the end of ctx.
func (p *Project) fetchPages(ctx context.Context, fetched chan<- page, req *pb.ListObjectsRequest) {
	defer close(fetched)
	var last *pb.ListItem
	for more := true; more; {
		res, err := p.sat.ListObjects(ctx, req)
		if err == nil {
			last, err = checkOrder(last, res)
		}
		select {
		case fetched <- page{res, err}:
		case <-ctx.Done():
			return
		}
		req = proto.CloneOf(req) // the transport may still hold the old one
		req.After, more = res.GetNext(), err == nil && res.GetMore()
	}
}

// checkOrder checks that a page goes on after the last item before it, in
// ascending order, and returns its own last item. As names cannot be made up
// without the key, a list that only goes forward comes to an end.
func checkOrder(last *pb.ListItem, res *pb.ListObjectsResponse) (*pb.ListItem, error) {
	if res.More && len(res.Items) == 0 {
		return nil, fmt.Errorf("%w: the satellite's list does not advance", ErrCorrupt)
	}
	for _, item := range res.Items {
		if last != nil && !precedes(last, item) {
			return nil, fmt.Errorf("%w: the satellite's list is out of order", ErrCorrupt)
		}
		last = item
	}
	return last, nil
}

// precedes tells the order of a list: by sealed name, and an object before the
// prefix of its name.
func precedes(a, b *pb.ListItem) bool {
	order := bytes.Compare(sealedName(a), sealedName(b))
	return order < 0 || order == 0 && len(a.Prefix) == 0 && len(b.Prefix) > 0
}

func sealedName(item *pb.ListItem) []byte {
	if len(item.Prefix) > 0 {
		return item.Prefix
	}
	return item.GetObject().GetKey()
}

// item decrypts one line of a satellite's list of dir. A name that does not
// decrypt is names.ErrKey.
func (l *lister) item(dir string, found *pb.ListItem) (Item, error) {
	var item Item
	var err error
	switch o := found.Object; {
	case len(found.Prefix) > 0:
		item.Prefix, err = l.cipher.DecryptDir(found.Prefix)
	case o == nil:
		err = names.ErrFrame
	default:
		item.Object, err = l.object(o)
	}
	switch {
	case errors.Is(err, names.ErrFrame):
		return Item{}, fmt.Errorf("%w: the satellite's list: %w", ErrCorrupt, err)
	case err != nil:
		return Item{}, err
	case !strings.HasPrefix(item.Name()+"/", dir):
		return Item{}, fmt.Errorf("%w: the satellite listed %q below %q", ErrCorrupt, item.Name(), dir)
	}
	return item, nil
}

func (l *lister) object(o *pb.Object) (Object, error) {
	key, err := l.cipher.Decrypt(o.Key)
	if err != nil || !l.o.Metadata {
		return objectOf(key, o, nil), err
	}
	_, secret, err := openSecret(l.cipher.Metadata(key), key, o)
	if err != nil {
		return Object{}, err
	}
	return objectOf(key, o, secret), nil
}
