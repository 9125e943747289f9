package uplink

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestPoolBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		p := newPool(10 * bufferSize)
		a, b := p.share(), p.share()
		first, err := a.take(ctx, 8)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.tryTake(3); got != nil {
			t.Error("more than the limit was granted")
		}
		got := make(chan []*buffer)
		go func() {
			more, _ := b.take(ctx, 3)
			got <- more
		}()
		synctest.Wait()
		if small := a.tryTake(1); small != nil {
			t.Error("a share went past one that waits")
		}
		first[0].release()
		synctest.Wait()
		select {
		case more := <-got:
			if len(more) != 3 {
				t.Errorf("%d buffers were granted", len(more))
			}
			releaseAll(more)
		default:
			t.Error("what came free was not granted")
		}
		releaseAll(first[1:])
		if p.used != 0 || a.held != 0 || b.held != 0 {
			t.Errorf("%d buffers are used after all were released", p.used)
		}
	})
}

// A share gets what it was promised, even past others that wait and though all is
// taken.
func TestPoolPromise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(4 * bufferSize)
		a, b, c := p.share(), p.share(), p.share()
		all := a.tryTake(4)
		short, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		failed := make(chan error)
		go func() {
			_, err := b.take(short, 1)
			failed <- err
		}()
		synctest.Wait()
		c.promise(2)
		promised, err := c.take(context.Background(), 2)
		if err != nil || len(promised) != 2 {
			t.Fatalf("%d buffers, %v", len(promised), err)
		}
		if err := <-failed; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a share that waited too long got %v", err)
		}
		one := c.force()
		one.release()
		releaseAll(append(all, promised...))
		if p.used != 0 || len(p.waiting) != 0 {
			t.Errorf("%d buffers are used, %d shares wait", p.used, len(p.waiting))
		}
	})
}

func TestBufferOwners(t *testing.T) {
	p := newPool(bufferSize)
	b := p.share().force()
	b.hold()
	b.release()
	if p.used != 1 {
		t.Error("a buffer with an owner went back")
	}
	b.release()
	if p.used != 0 {
		t.Error("a buffer without owners is kept")
	}
	defer func() {
		if recover() == nil {
			t.Error("releasing twice is not found out")
		}
	}()
	b.release()
}

func TestFairShares(t *testing.T) {
	p := newPool(12 * bufferSize)
	a := p.share()
	if a.shared() || a.fair() != 12 {
		t.Errorf("alone: %v, %d", a.shared(), a.fair())
	}
	b, c := p.share(), p.share()
	if !a.shared() || c.fair() != 4 {
		t.Errorf("three: %v, %d", a.shared(), c.fair())
	}
	b.close()
	c.close()
	if a.shared() {
		t.Error("closed shares count")
	}
}

// TestPoolTrims: what nobody uses is kept for a while, and then given up.
func TestPoolTrims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(4 * spareBuffers * bufferSize)
		use := func() {
			buffers := p.share().tryTake(2 * spareBuffers)
			releaseAll(buffers)
		}
		free := func() int {
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.free)
		}
		for range 5 {
			use()
			time.Sleep(spareTime / 2)
			if got := free(); got != 2*spareBuffers {
				t.Fatalf("%d buffers are free between uses", got)
			}
		}
		time.Sleep(spareTime)
		if got := free(); got != spareBuffers {
			t.Errorf("%d buffers are kept for nobody, want %d", got, spareBuffers)
		}
	})
}
