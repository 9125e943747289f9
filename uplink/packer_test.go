package uplink_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/cairnstorage/cairn/uplink"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// outcomes collects what a Packer says of objects.
type outcomes struct {
	mu      sync.Mutex
	objects map[string]uplink.Object
	errors  map[string]error
}

func newOutcomes() *outcomes {
	return &outcomes{objects: make(map[string]uplink.Object), errors: make(map[string]error)}
}

// of is the done of an object.
func (s *outcomes) of(key string) func(uplink.Object, error) {
	return func(o uplink.Object, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, told := s.objects[key]; told || s.errors[key] != nil {
			panic("told twice of " + key)
		}
		if err != nil {
			s.errors[key] = err
		} else {
			s.objects[key] = o
		}
	}
}

func (s *outcomes) count() (stored, failed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.objects), len(s.errors)
}

// addAll adds an object of noise for each size, by its size.
func addAll(t testing.TB, k *uplink.Packer, sizes ...int) *outcomes {
	t.Helper()
	s := newOutcomes()
	for _, size := range sizes {
		key := fmt.Sprint(size)
		if err := k.Add(bucket, key, bytes.NewReader(noise(size)), uplink.UploadOptions{Size: int64(size)}, s.of(key)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func packAll(t testing.TB, p *uplink.Project, sizes ...int) *outcomes {
	t.Helper()
	k := p.NewPacker(context.Background())
	s := addAll(t, k, sizes...)
	if err := k.Flush(); err != nil {
		t.Fatal(err)
	}
	return s
}

// packEdges are the sizes at which something changes.
func packEdges() (sizes []int) {
	for _, edge := range []int{0, seal.MaxInline, seal.ChunkPlain, 2 * seal.ChunkPlain, 5 * seal.ChunkPlain, uplink.MaxPacked} {
		for size := max(edge-1, 0); size <= edge+1; size++ {
			sizes = append(sizes, size)
		}
	}
	return sizes
}

func TestPackedAtEveryBoundary(t *testing.T) {
	p := onNetwork(t)
	sizes := packEdges()
	s := packAll(t, p, sizes...)
	for _, size := range sizes {
		key := fmt.Sprint(size)
		data := noise(size)
		checkGet(t, p, key, data)
		o, err := p.Stat(context.Background(), bucket, key)
		told := s.objects[key]
		if err != nil || o.Size != int64(size) || told.Size != o.Size || told.Version != o.Version || told.Segments != o.Segments || told.Key != key {
			t.Errorf("%s: %+v, %v, and its Packer said %+v", key, o, err, told)
		}
		if size > seal.MaxInline && (o.Segments != 1) {
			t.Errorf("%s has %d segments", key, o.Segments)
		}
		for range 5 {
			if size > 1 {
				from := rand.IntN(size - 1)
				checkRange(t, p, key, data, from, from+1+rand.IntN(size-from-1))
			}
		}
	}
	// Each lives on its own.
	ctx := context.Background()
	for i, size := range sizes {
		key := fmt.Sprint(size)
		var err error
		switch i % 3 {
		case 0:
			err = p.Delete(ctx, bucket, key)
		case 1:
			_, err = p.Move(ctx, bucket, key, bucket, "moved/"+key, uplink.CopyOptions{})
		default:
			_, err = p.Copy(ctx, bucket, key, bucket, "copy/"+key, uplink.CopyOptions{Metadata: map[string]string{"a": "b"}})
			if err == nil {
				err = p.Delete(ctx, bucket, key)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	left := 0
	for item, err := range p.List(ctx, bucket, uplink.ListOptions{Recursive: true}) {
		if err != nil {
			t.Fatal(err)
		}
		left++
		checkGet(t, p, item.Object.Key, noise(int(item.Object.Size)))
	}
	if want := len(sizes) - (len(sizes)+2)/3; left != want {
		t.Errorf("%d objects are left, want %d", left, want)
	}
}

// TestPackerContextEnds: what does not exist when the context ends never will.
func TestPackerContextEnds(t *testing.T) {
	doubles, p := startDoubles(t, smallScheme)
	hold := make(chan struct{})
	defer close(hold)
	for _, d := range doubles {
		d.set(faults{hold: hold})
	}
	ctx, cancel := context.WithCancel(context.Background())
	k := p.NewPacker(ctx)
	k.Limit(1<<20, 1)
	s := newOutcomes()
	var adding sync.WaitGroup
	for i := range 5 { // more than may be under way
		key := fmt.Sprint(i)
		adding.Go(func() {
			if err := k.Add(bucket, key, bytes.NewReader(noise(10_000)), uplink.UploadOptions{}, s.of(key)); err != nil {
				s.of(key)(uplink.Object{}, err)
			}
		})
	}
	await(t, "packs to be sent", p.Sending)
	cancel()
	adding.Wait()
	if err := k.Flush(); !errors.Is(err, context.Canceled) {
		t.Errorf("Flush: %v", err)
	}
	if stored, failed := s.count(); stored != 0 || failed != 5 {
		t.Errorf("%d are said to be stored, %d to have failed", stored, failed)
	}
	if err := k.Add(bucket, "late", bytes.NewReader(nil), uplink.UploadOptions{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Add: %v", err)
	}
	for i := range 5 {
		checkAbsent(t, p, fmt.Sprint(i))
	}
}

// TestPackedFilesFailAlone: what is wrong with one file does not concern others.
func TestPackedFilesFailAlone(t *testing.T) {
	p := onNetwork(t)
	put(t, p, "there", noise(10))
	k := p.NewPacker(context.Background())
	broken := errors.New("broken")
	for key, r := range map[string]io.Reader{
		"small":  iotest.ErrReader(broken),
		"medium": io.MultiReader(bytes.NewReader(noise(10_000)), iotest.ErrReader(broken)),
		"large":  io.MultiReader(bytes.NewReader(noise(2*uplink.MaxPacked)), iotest.ErrReader(broken)),
	} {
		if err := k.Add(bucket, key, r, uplink.UploadOptions{}, nil); !errors.Is(err, broken) {
			t.Errorf("%s: %v", key, err)
		}
	}
	if err := k.Add(bucket, "", bytes.NewReader(nil), uplink.UploadOptions{}, nil); !errors.Is(err, uplink.ErrName) {
		t.Errorf("no key: %v", err)
	}
	s := addAll(t, k, 100, 10_000)
	add := func(to, key string, size int) {
		t.Helper()
		if err := k.Add(to, key, bytes.NewReader(noise(size)), uplink.UploadOptions{IfAbsent: true}, s.of(to+key)); err != nil {
			t.Fatal(err)
		}
	}
	add(bucket, "there", 10_001)
	add("no-bucket", "x", 10_001)
	add("no-bucket", "y", 10)
	add(bucket, "new", 10_001)
	if err := k.Flush(); err == nil {
		t.Error("Flush does not tell of those that failed")
	}
	for key, want := range map[string]error{"no-bucketx": uplink.ErrBucketNotFound, "no-buckety": uplink.ErrBucketNotFound, bucket + "there": uplink.ErrObjectExists} {
		if got := s.errors[key]; !errors.Is(got, want) {
			t.Errorf("%s: %v", key, got)
		}
	}
	checkGet(t, p, "there", noise(10))
	checkGet(t, p, "new", noise(10_001))
	checkGet(t, p, "10000", noise(10_000))
	for _, key := range []string{"small", "medium", "large"} {
		checkAbsent(t, p, key)
	}
}

// TestPackWithoutBucket sends nothing for a bucket that is not there.
func TestPackWithoutBucket(t *testing.T) {
	doubles, p := startDoubles(t, smallScheme)
	k := p.NewPacker(context.Background())
	s := newOutcomes()
	for i := range 3 {
		key := fmt.Sprint(i)
		if err := k.Add("no-bucket", key, bytes.NewReader(noise(9000)), uplink.UploadOptions{}, s.of(key)); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Flush(); !errors.Is(err, uplink.ErrBucketNotFound) {
		t.Errorf("Flush: %v", err)
	}
	if stored, failed := s.count(); stored != 0 || failed != 3 || segments(doubles) != 0 {
		t.Errorf("%d are said to be stored, %d to have failed, %d segments were sent", stored, failed, segments(doubles))
	}
	if _, err := p.CreateBucket(context.Background(), "no-bucket"); err != nil {
		t.Fatal(err)
	}
	if err := k.Add("no-bucket", "late", bytes.NewReader(noise(9000)), uplink.UploadOptions{}, s.of("late")); err != nil {
		t.Fatal(err)
	}
	if err := k.Flush(); err != nil {
		t.Errorf("Flush once the bucket is there: %v", err)
	}
}

// TestPackerKeepsWhatItIsTold checks metadata, and content that is longer than
// was said.
func TestPackerKeepsWhatItIsTold(t *testing.T) {
	p := onNetwork(t)
	k := p.NewPacker(context.Background())
	o := uplink.UploadOptions{Metadata: map[string]string{"a": "b"}, Modified: time.UnixMilli(1_700_000_000_123), Size: 10}
	s := newOutcomes()
	sizes := []int{0, 11, 10_000, uplink.MaxPacked, uplink.MaxPacked + 1, 3 * uplink.MaxPacked}
	for _, size := range sizes {
		key := fmt.Sprint(size)
		if err := k.Add(bucket, key, iotest.HalfReader(bytes.NewReader(noise(size))), o, s.of(key)); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, size := range sizes {
		key := fmt.Sprint(size)
		checkGet(t, p, key, noise(size))
		for _, got := range []uplink.Object{s.objects[key], stat(t, p, key)} {
			if got.Metadata["a"] != "b" || !got.Modified.Equal(o.Modified) || got.Size != int64(size) {
				t.Errorf("%s: %+v", key, got)
			}
		}
	}
}

func stat(t *testing.T, p *uplink.Project, key string) uplink.Object {
	t.Helper()
	o, err := p.Stat(context.Background(), bucket, key)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestPackersOfOneKey: of several that write one key, one wins wholly.
func TestPackersOfOneKey(t *testing.T) {
	p := onNetwork(t)
	k := p.NewPacker(context.Background())
	k.Limit(300_000, 10)
	const writers = 8
	var wait sync.WaitGroup
	for i := range writers {
		wait.Go(func() {
			for round := range 4 {
				data := bytes.Repeat([]byte{byte(i)}, 50_000+writers*round+i)
				if i%2 == 0 {
					put(t, p, "object", data)
				} else if err := k.Add(bucket, "object", bytes.NewReader(data), uplink.UploadOptions{}, nil); err != nil {
					t.Error(err)
				}
			}
			if err := k.Flush(); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	got, err := get(p, "object", uplink.DownloadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	winner := (len(got) - 50_000) % writers
	if winner < 0 || !bytes.Equal(got, bytes.Repeat([]byte{byte(winner)}, len(got))) {
		t.Errorf("%d bytes came back that nobody wrote", len(got))
	}
	var keys []string
	for item, err := range p.List(context.Background(), bucket, uplink.ListOptions{Recursive: true}) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, item.Object.Key)
	}
	if !slices.Equal(keys, []string{"object"}) {
		t.Errorf("there are %q", keys)
	}
}
