package uplink

import (
	"context"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/transport"
)

// countingGet counts the bytes that are asked for.
type countingGet struct {
	getStream
	asked *atomic.Int64
}

func (g countingGet) RequestParts(segment order.SegmentID, offset int64, lengths []int) error {
	for _, length := range lengths {
		g.asked.Add(int64(length))
	}
	return g.getStream.RequestParts(segment, offset, lengths)
}

// TestAskedAtFirst is how much a download asks for before anything has come: all
// that may be read ahead if all is wanted, little if that is not said.
func TestAskedAtFirst(t *testing.T) {
	const stripes = 40
	for name, c := range map[string]struct {
		read        func(*Download) error
		least, most int64 // stripes
	}{
		"Read":    {func(d *Download) error { _, err := d.Read(make([]byte, 1)); return err }, 1, 3},
		"WriteTo": {func(d *Download) error { _, err := d.WriteTo(io.Discard); return err }, 1 + 2 + 6*batchStripes, stripes},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				segment, session, holders := fakeSegment(t, fakeData(stripes))
				for _, h := range holders {
					h.answer = time.Minute
				}
				var asked atomic.Int64
				open := session.open
				session.open = func(ctx context.Context, to transport.Address) (getStream, error) {
					get, err := open(ctx, to)
					return countingGet{get, &asked}, err
				}
				d := downloadOf(segment, session)
				done := make(chan error, 1)
				go func() { done <- c.read(d) }()
				synctest.Wait()
				if n := asked.Load() / (3 * erasure.ChunkSize); n < c.least || n > c.most {
					t.Errorf("%d stripes are asked for, want %d to %d", n, c.least, c.most)
				}
				d.cancel(ErrClosed)
				<-done
				d.Close()
			})
		})
	}
}

// downloadOf is a download of a segment that a session reads.
func downloadOf(segment *segmentReader, session *getSession) *Download {
	session.lease.until = time.Now().Add(time.Hour)
	segment.transfers = &transfers{
		get: newPool(downloadMemory), peers: session.peers, getting: map[uint32]*getSession{segment.group: session},
	}
	d := &Download{length: segment.length, extents: &extents{
		p: &Project{transfers: segment.transfers}, known: []*segmentReader{segment}, size: segment.length,
	}}
	d.ctx, d.cancel = context.WithCancelCause(context.Background())
	return d
}
