package uplink

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

func testBatch(required, limit int) *batch {
	share := newPool(1 << 30).share()
	buffers := share.tryTake(required + 1)
	for _, b := range buffers { // what an earlier use left
		copy(b.bytes, bytes.Repeat([]byte{0xee}, len(b.bytes)))
	}
	return newBatch(required, limit, buffers)
}

// plaintextOf reads back a closed batch by the rules of package seal.
func plaintextOf(t *testing.T, b *batch) []byte {
	t.Helper()
	layout, err := seal.Layout(int64(b.filled), b.required, b.required+1)
	if err != nil {
		t.Fatal(err)
	}
	if layout.Stripes() != b.stripes || layout.ChunkSize(b.stripes-1) != b.last || layout.ShardSize() != int64(b.size()) {
		t.Fatalf("%d bytes made %d stripes, the last of chunks of %d; want %+v", b.filled, b.stripes, b.last, layout)
	}
	var plain []byte
	for row := range b.stripes {
		for slot := range b.required {
			chunk := b.buffers[slot].chunk(row, b.chunkSize(row))
			plain = append(plain, chunk[:len(chunk)-seal.Overhead]...)
		}
	}
	return plain
}

func TestBatchSpreadsWhatIsLeft(t *testing.T) {
	random := rand.NewChaCha8([32]byte{})
	noise := make([]byte, 4*20*seal.ChunkPlain)
	random.Read(noise)
	for _, k := range []int{1, 2, 3, 7, 20} {
		stripe := k * seal.ChunkPlain
		sizes := []int{1, k, 48 * k, 48*k + 1, 10_000, seal.ChunkPlain - 1, seal.ChunkPlain, seal.ChunkPlain + 1,
			stripe - 1, stripe, stripe + 1, 2*stripe + 4080, 4*stripe - 1, 4 * stripe}
		for range 8 {
			sizes = append(sizes, 1+int(random.Uint64()%uint64(4*stripe)))
		}
		for _, size := range sizes {
			if size > 4*stripe {
				continue
			}
			data := noise[:size]
			b := testBatch(k, batchStripes)
			for rest := data; len(rest) > 0; {
				rest = rest[b.write(rest):]
			}
			if b.full() != (size == 4*stripe) {
				t.Errorf("k %d, %d bytes: full is %v", k, size, b.full())
			}
			b.close()
			plain := plaintextOf(t, b)
			if !bytes.Equal(plain[:size], data) {
				t.Fatalf("k %d, %d bytes: the plaintext is not where it should be", k, size)
			}
			if rest := plain[size:]; !bytes.Equal(rest, make([]byte, len(rest))) {
				t.Fatalf("k %d, %d bytes: the rest is not zeros", k, size)
			}
		}
	}
}

func TestBatchReads(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 30_000)
	for name, r := range map[string]io.Reader{
		"at once":     bytes.NewReader(data),
		"in halves":   iotest.HalfReader(bytes.NewReader(data)),
		"with errors": iotest.DataErrReader(bytes.NewReader(data)),
	} {
		b := testBatch(3, 2)
		var err error
		for err == nil && !b.full() {
			_, err = b.readFrom(r)
		}
		if err != io.EOF || b.filled != len(data) {
			t.Fatalf("%s: %d bytes, %v", name, b.filled, err)
		}
		b.close()
		if !bytes.Equal(plaintextOf(t, b)[:len(data)], data) {
			t.Errorf("%s: wrong plaintext", name)
		}
	}
}

// BenchmarkCarry is the work of an upload on the bytes: seal, code, hash.
func BenchmarkCarry(b *testing.B) {
	for _, scheme := range []erasure.Scheme{
		{Required: 4, RepairBelow: 6, Success: 8, Total: 10},
		{Required: 10, RepairBelow: 14, Success: 16, Total: 20},
		{Required: 20, RepairBelow: 28, Success: 32, Total: 40},
	} {
		b.Run(fmt.Sprint(scheme), func(b *testing.B) {
			coder, err := erasure.NewCoder(scheme.Required, scheme.Total)
			if err != nil {
				b.Fatal(err)
			}
			share := newPool(1 << 30).share()
			b.SetBytes(int64(batchStripes * scheme.Required * seal.ChunkPlain))
			b.RunParallel(func(pb *testing.PB) {
				s := &segmentWriter{scheme: scheme, coder: coder, seal: sealer(seal.NewSegment([32]byte{}, [16]byte{}, 0))}
				batch := newBatch(scheme.Required, batchStripes, share.tryTake(scheme.Total))
				for pb.Next() {
					batch.filled = batchStripes * batch.stripePlain()
					batch.close()
					if err := s.code(batch); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
