package meta

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
)

// benchRig is a rig on badgerkv with objects of one segment each under
// "d/00000" and on.
func benchRig(b *testing.B, objects int) *rig {
	b.Helper()
	r := newRig(b, openBadger(b, b.TempDir()))
	p, err := r.CreateProject(r.ctx, "demo", [16]byte{}, [16]byte{})
	r.must(err)
	r.project = p.Number
	r.must(ignore(r.CreateBucket(r.ctx, r.project, "bucket")))
	r.group(1)
	work := make(chan int)
	done := make(chan error)
	for range 64 {
		go func() {
			var err error
			for i := range work {
				if e := r.benchCommit(uint64(i)+1<<40, key("d", fmt.Sprintf("%05d", i))); e != nil {
					err = e
				}
			}
			done <- err
		}()
	}
	for i := range objects {
		work <- i
	}
	close(work)
	for range 64 {
		r.must(<-done)
	}
	return r
}

func (r *rig) benchCommit(serial uint64, k []byte) error {
	id := order.SegmentID(append(u64(nil, serial), make([]byte, 8)...))
	_, err := r.Commit(r.ctx, CommitRequest{
		Project: r.project, Bucket: "bucket", Key: k, Nonce: id[:], SealedMetadata: make([]byte, 80), Size: 65520,
		Segments: []NewSegment{{ID: id, Group: 1, Epoch: 1, Size: 1 << 18, Root: merkle.Hash{1}, Held: []byte{255, 3}}},
		Extents:  []Extent{{Segment: id, Length: 65520}},
	})
	return err
}

// BenchmarkCommit commits objects of one segment from many uplinks at a time.
func BenchmarkCommit(b *testing.B) {
	for _, uplinks := range []int{2, 8, 64} {
		b.Run(fmt.Sprint(uplinks), func(b *testing.B) {
			r := benchRig(b, 0)
			var serial atomic.Uint64
			b.SetParallelism(uplinks / 2) // goroutines for each of 2 processors
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					n := serial.Add(1)
					if err := r.benchCommit(n, key("d", fmt.Sprintf("%08d", n))); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkCommitMany commits packs of 500 objects that share a segment.
func BenchmarkCommitMany(b *testing.B) {
	r := benchRig(b, 0)
	var serial atomic.Uint64
	const objects = 500
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n := serial.Add(1)
			id := order.SegmentID(append(u64(nil, n), make([]byte, 8)...))
			q := CommitManyRequest{Project: r.project, Nonce: id[:], Segments: []NewSegment{
				{ID: id, Group: 1, Epoch: 1, Size: 1 << 24, Root: merkle.Hash{1}, Held: []byte{255, 3}},
			}}
			for i := range objects {
				q.Objects = append(q.Objects, NewObject{
					Bucket: "bucket", Key: key("d", fmt.Sprintf("%08d", objects*int(n)+i)), SealedMetadata: make([]byte, 80), Size: 30000,
					Extents: []Extent{{Segment: id, Offset: uint64(30016 * i), Length: 30000}},
				})
			}
			if _, err := r.CommitMany(r.ctx, q); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N*objects)/b.Elapsed().Seconds(), "objects/s")
}

func BenchmarkGet(b *testing.B) {
	r := benchRig(b, 10000)
	b.ResetTimer()
	for i := range b.N {
		q := GetRequest{Project: r.project, Bucket: "bucket", Key: key("d", fmt.Sprintf("%05d", i*7919%10000))}
		if _, err := r.Get(r.ctx, q); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkList10000 lists 10,000 keys, pages of 1,000.
func BenchmarkList10000(b *testing.B) {
	r := benchRig(b, 10000)
	b.ResetTimer()
	for range b.N {
		if n := len(r.listAll(ListRequest{Prefix: key("d"), Recursive: true, WithMetadata: true}, nil)); n != 10000 {
			b.Fatalf("%d keys", n)
		}
	}
}
