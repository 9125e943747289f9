package uplink_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/deploy/localnet/network"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/uplink"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// Nodes beyond those that are needed may fail in any way.
func TestNodesThatPutWrong(t *testing.T) {
	for name, fault := range map[string]faults{
		"refuses":        {refuse: pb.Code_CODE_FULL},
		"breaks":         {putBreak: 300_000},
		"stalls":         {putStall: 300_000},
		"stalls at once": {putStall: 1},
		"is slow":        {slow: 500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			doubles, p := startDoubles(t, smallScheme)
			p.Tolerate(2 * time.Second)
			p.LimitSegments(8)
			doubles[3].set(fault)
			data := noise(30*smallScheme.Required*seal.ChunkPlain + 12345)
			put(t, p, "object", data)
			put(t, p, "small", data[:10_000])
			checkGet(t, p, "object", data)
			checkGet(t, p, "small", data[:10_000])
			for i, d := range doubles {
				if i != 3 {
					await(t, fmt.Sprintf("node %d to have all shards", i), func() bool { return d.holds() == 5 })
				}
			}
		})
	}
}

// holds is how many shards a double has.
func (d *double) holds() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.shards)
}

// A node that stands still for a moment is left behind, fed from the backlog, and
// loses nothing.
func TestStragglerCatchesUp(t *testing.T) {
	doubles, p := startDoubles(t, smallScheme)
	p.LeaveBehind(time.Millisecond)
	straggler, hold := doubles[2], make(chan struct{})
	straggler.set(faults{hold: hold})
	data := noise(64 * smallScheme.Required * seal.ChunkPlain)
	put(t, p, "object", data)
	if straggler.holds() != 0 {
		t.Error("the node took its shard though it stood still")
	}
	close(hold)
	await(t, "the straggler to have its shard", func() bool { return straggler.holds() == 1 })
	putWhole(t, p, "next", data)
	if straggler.holds() != 2 {
		t.Error("the node was left out after it had caught up")
	}
	checkGet(t, p, "object", data)
}

// A node that is slow for a moment is waited for.
func TestSlowNodeIsWaitedFor(t *testing.T) {
	doubles, p := startDoubles(t, smallScheme)
	p.LimitSegments(16)
	slow := doubles[2]
	slow.set(faults{slow: 30 * time.Millisecond})
	u, err := p.Upload(context.Background(), bucket, "object", uplink.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	data := noise(64 * smallScheme.Required * seal.ChunkPlain)
	if _, err := u.Write(data[:len(data)/4]); err != nil {
		t.Fatal(err)
	}
	slow.set(faults{})
	if _, err := u.Write(data[len(data)/4:]); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	await(t, "all nodes to take their shards", func() bool { return !p.Sending() })
	if got := slow.holds(); got != 4 {
		t.Errorf("the slow node has %d of 4 shards", got)
	}
	checkGet(t, p, "object", data)
}

// await waits for something that comes about by itself.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestAnotherGroup(t *testing.T) {
	doubles, p := startDoubles(t, smallScheme)
	p.LimitSegments(8)
	var refusals atomic.Int32
	refusals.Store(3) // that is more than one segment in one group can take
	for _, d := range doubles {
		d.set(faults{refuseFirst: &refusals})
	}
	data := noise(20*smallScheme.Required*seal.ChunkPlain + 1)
	put(t, p, "object", data)
	checkGet(t, p, "object", data)
	if refusals.Load() >= 0 {
		t.Error("nothing was refused")
	}
}

// Nodes that do not honour a lease any more are shown another one.
func TestLeaseThatRanOut(t *testing.T) {
	for _, code := range []pb.Code{pb.Code_CODE_EXPIRED, pb.Code_CODE_EXHAUSTED, pb.Code_CODE_STALE_EPOCH} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			doubles, p := startDoubles(t, smallScheme)
			data := noise(5*smallScheme.Required*seal.ChunkPlain + 1)
			put(t, p, "before", data)
			var refusals atomic.Int32
			for _, d := range doubles {
				d.set(faults{refuse: code, refuseFirst: &refusals})
			}
			refusals.Store(int32(len(doubles)))
			put(t, p, "object", data)
			checkGet(t, p, "before", data)
			refusals.Store(int32(len(doubles)))
			checkGet(t, p, "object", data)
			if refusals.Load() == int32(len(doubles)) {
				t.Error("nothing was refused")
			}
		})
	}
}

func TestAnotherGroupMidSegment(t *testing.T) {
	doubles, p := startDoubles(t, smallScheme)
	p.LimitSegments(16)
	u, err := p.Upload(context.Background(), bucket, "object", uplink.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	data := noise(40 * smallScheme.Required * seal.ChunkPlain)
	if _, err := u.Write(data[:len(data)/3]); err != nil {
		t.Fatal(err)
	}
	var breaks [3]atomic.Int32
	for i := range breaks {
		breaks[i].Store(1)
		doubles[i].set(faults{putBreak: 1, breakFirst: &breaks[i]})
	}
	if _, err := u.Write(data[len(data)/3:]); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	for i := range breaks {
		if breaks[i].Load() > 0 {
			t.Errorf("node %d cut no stream", i)
		}
	}
	checkGet(t, p, "object", data)
}

func TestTooFewNodesForPut(t *testing.T) {
	doubles, p := startDoubles(t, smallScheme)
	for _, d := range doubles[:2] {
		d.set(faults{refuse: pb.Code_CODE_FULL})
	}
	u, err := p.Upload(context.Background(), bucket, "object", uplink.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = u.Write(noise(100_000))
	if err == nil {
		_, err = u.Commit(context.Background())
	}
	if !errors.Is(err, uplink.ErrTooFewNodes) {
		t.Fatalf("error %v", err)
	}
	for _, d := range doubles[:2] {
		if !strings.Contains(err.Error(), d.key.ID().Short()) || !strings.Contains(err.Error(), "no room") {
			t.Errorf("the error does not say that node %s is full: %v", d.key.ID().Short(), err)
		}
	}
	if _, again := u.Write([]byte("more")); !errors.Is(again, uplink.ErrTooFewNodes) {
		t.Errorf("Write after the failure: %v", again)
	}
	u.Abort()
	checkAbsent(t, p, "object")
}

func checkAbsent(t *testing.T, p *uplink.Project, key string) {
	t.Helper()
	if _, err := p.Stat(context.Background(), bucket, key); !errors.Is(err, uplink.ErrObjectNotFound) {
		t.Errorf("Stat of what should not be there: %v", err)
	}
}

func TestAbortLeavesNothing(t *testing.T) {
	p := onNetwork(t)
	p.LimitSegments(2)
	for _, size := range []int{0, 100, 100_000, 3_000_000, 20_000_000} {
		u, err := p.Upload(context.Background(), bucket, "object", uplink.UploadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Write(noise(size)); err != nil {
			t.Fatal(err)
		}
		if err := u.Abort(); err != nil {
			t.Error(err)
		}
		await(t, "the buffers to be free", func() bool { held, _ := p.Held(); return held == 0 })
		checkAbsent(t, p, "object")
		if _, err := u.Write([]byte("x")); !errors.Is(err, uplink.ErrAborted) {
			t.Errorf("Write after Abort: %v", err)
		}
		if _, err := u.Commit(context.Background()); !errors.Is(err, uplink.ErrAborted) {
			t.Errorf("Commit after Abort: %v", err)
		}
	}
}

func TestUploadContextEnds(t *testing.T) {
	p := onNetwork(t)
	p.LimitSegments(2)
	ctx, cancel := context.WithCancel(context.Background())
	u, err := p.Upload(ctx, bucket, "object", uplink.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write(noise(3_000_000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := u.Write(noise(3_000_000)); !errors.Is(err, context.Canceled) {
		t.Errorf("Write after the end of its context: %v", err)
	}
	if _, err := u.Commit(context.Background()); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit after the end of the upload's context: %v", err)
	}
	checkAbsent(t, p, "object")
}

func TestUploadAfterProjectClosed(t *testing.T) {
	p := onNetwork(t)
	u, err := p.Upload(context.Background(), bucket, "object", uplink.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write(noise(3_000_000)); err != nil {
		t.Fatal(err)
	}
	p.Close()
	if _, err := u.Commit(context.Background()); err == nil {
		t.Error("Commit after the project was closed went well")
	}
}

func TestWritersOfOneKey(t *testing.T) {
	p := onNetwork(t)
	p.LimitSegments(3)
	const writers = 8
	var wait sync.WaitGroup
	for i := range writers {
		wait.Go(func() { put(t, p, "object", bytes.Repeat([]byte{byte(i)}, 2_000_000+i)) })
	}
	wait.Wait()
	got, err := get(p, "object", uplink.DownloadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	winner := len(got) - 2_000_000
	if winner < 0 || winner >= writers || !bytes.Equal(got, bytes.Repeat([]byte{byte(winner)}, len(got))) {
		t.Errorf("%d bytes came back that nobody wrote", len(got))
	}
}

func TestIfAbsent(t *testing.T) {
	p := onNetwork(t)
	for _, size := range []int{10, 10_000} {
		key := fmt.Sprint(size)
		for try := range 2 {
			u, err := p.Upload(context.Background(), bucket, key, uplink.UploadOptions{IfAbsent: true})
			if err != nil {
				t.Fatal(err)
			}
			u.Write(noise(size + try))
			if _, err = u.Commit(context.Background()); (try == 1) != errors.Is(err, uplink.ErrObjectExists) {
				t.Errorf("try %d: %v", try, err)
			}
		}
		checkGet(t, p, key, noise(size))
	}
}

func TestUploadKeepsWhatItIsTold(t *testing.T) {
	p := onNetwork(t)
	modified := time.UnixMilli(1_700_000_000_123)
	u, err := p.Upload(context.Background(), bucket, "object", uplink.UploadOptions{
		Metadata: map[string]string{"a": "b"}, Modified: modified, Size: 5_000_000,
	})
	if err != nil {
		t.Fatal(err)
	}
	data := noise(6_000_000) // more than was said
	if n, err := io.Copy(u, io.MultiReader(bytes.NewReader(data[:100]), bytes.NewReader(data[100:]))); n != int64(len(data)) || err != nil {
		t.Fatal(n, err)
	}
	if _, err := u.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	o, err := p.Stat(context.Background(), bucket, "object")
	if err != nil || o.Metadata["a"] != "b" || !o.Modified.Equal(modified) || o.Size != int64(len(data)) || o.Segments != 2 {
		t.Errorf("%+v, %v", o, err)
	}
	checkGet(t, p, "object", data)
}

func TestNodesStoppedMidUpload(t *testing.T) {
	n, p := startNetwork(t, network.Config{})
	p.LimitSegments(16)
	u, err := p.Upload(context.Background(), bucket, "object", uplink.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	data := noise(24 << 20)
	half := 13 << 20
	if _, err := u.Write(data[:half]); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{3, 7} {
		if err := n.StopNode(i); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := u.Write(data[half:]); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	checkGet(t, p, "object", data)
}

// A source that yields nothing for long: its segments end there, and what comes
// later goes into others.
func TestSlowSource(t *testing.T) {
	p := onNetwork(t)
	p.PauseAfter(time.Millisecond)
	data := noise(3 << 20)
	u, err := p.Upload(context.Background(), bucket, "slow", uplink.UploadOptions{Size: int64(len(data))})
	if err != nil {
		t.Fatal(err)
	}
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 1<<20)
		if _, err := u.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
		await(t, "the segment to end", func() bool { return !u.Open() })
	}
	o, err := u.Commit(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if o.Segments < 2 {
		t.Errorf("the object has %d segments", o.Segments)
	}
	checkGet(t, p, "slow", data)
}

// What is expected of an object decides how it is cut, and never what is kept.
func TestSizeHints(t *testing.T) {
	p := onNetwork(t)
	stripe := 4 * seal.ChunkPlain
	for _, size := range []int{stripe, 5*stripe - 1, 8 * stripe, 9*stripe + 1} {
		for _, hint := range []int{size, 1, size - 1, size / 2, size + 1, 3 * size} {
			data := noise(size)
			u, err := p.Upload(context.Background(), bucket, "hint", uplink.UploadOptions{Size: int64(hint)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := u.Write(data); err != nil {
				t.Fatal(err)
			}
			o, err := u.Commit(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if hint == size && o.Segments != 1 {
				t.Errorf("%d bytes, as expected, became %d segments", size, o.Segments)
			}
			checkGet(t, p, "hint", data)
		}
	}
}
