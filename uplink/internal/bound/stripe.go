package bound

import (
	"crypto/rand"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/wire"
	"github.com/cairnstorage/cairn/uplink/internal/keys"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// steps are what is done to the bytes themselves.
var steps = []struct {
	name string
	do   func(*stripe) error
}{
	{PartSeal, (*stripe).seal},
	{PartCode, (*stripe).code},
	{PartHash, (*stripe).hash},
	{PartReceiver, (*stripe).receive},
	{PartDecode, (*stripe).decode},
	{PartOpen, (*stripe).open},
}

// stripe is one worker's share: a stripe of plaintext and what becomes of it.
type stripe struct {
	cipher
	coder  *erasure.Coder
	plain  []byte
	chunks [][]byte
	lossy  [][]byte // the chunks without those that are to be decoded
	spare  [][]byte
	roots  []merkle.Hash
	shard  *merkle.Hasher // of a shard that grows as it arrives
}

// cipher seals and opens chunks of data.
type cipher struct {
	segment *seal.Segment
	opened  []byte // what was opened last
}

func newCipher() cipher {
	return cipher{segment: seal.NewSegment(keys.Content{}, [16]byte{}, 0), opened: make([]byte, 0, seal.ChunkPlain)}
}

// openChunk opens a slot's chunk of any stripe, for all are sealed alike.
func (c *cipher) openChunk(chunk []byte, slot int) error {
	_, err := c.segment.Open(c.opened, chunk, uint64(slot))
	return err
}

func newStripe(coder *erasure.Coder) *stripe {
	s := &stripe{
		cipher: newCipher(),
		coder:  coder,
		plain:  make([]byte, coder.Required()*seal.ChunkPlain),
		chunks: make([][]byte, coder.Total()),
		lossy:  make([][]byte, coder.Total()),
		spare:  make([][]byte, coder.Total()),
		shard:  merkle.NewHasher(wire.MaxData),
	}
	rand.Read(s.plain)
	for i := range s.chunks {
		s.chunks[i] = erasure.NewBuffer(i, 0, erasure.ChunkSize)
		s.spare[i] = erasure.NewBuffer(coder.Total()+i, 0, erasure.ChunkSize)[:0]
	}
	return s
}

// repeat does the work again and again and says to how many bytes of plaintext.
func (s *stripe) repeat(until time.Time, work func(*stripe) error) (done int64, err error) {
	for first := true; first || time.Now().Before(until); first = false {
		if err := work(s); err != nil {
			return done, err
		}
		done += int64(len(s.plain))
	}
	return done, nil
}

func (s *stripe) seal() error {
	for i := range s.coder.Required() {
		plain := s.plain[i*seal.ChunkPlain:][:seal.ChunkPlain]
		s.segment.Seal(s.chunks[i][:0], plain, uint64(i))
	}
	return nil
}

func (s *stripe) code() error { return s.coder.Encode(s.chunks) }

func (s *stripe) hash() error {
	s.roots = merkle.AppendRoots(s.roots[:0], s.chunks)
	return nil
}

// receive hashes what all nodes get of a stripe, as they do: frame by frame.
func (s *stripe) receive() error {
	for _, chunk := range s.chunks {
		if s.shard.Size()+int64(len(chunk)) > wire.MaxData {
			s.shard.Root()
			s.shard.Reset()
		}
		s.shard.Write(chunk)
	}
	return nil
}

// decode makes the data again when as many of its chunks are lost as can be.
func (s *stripe) decode() error {
	copy(s.lossy, s.chunks)
	for i := range min(s.coder.Required(), s.coder.Total()-s.coder.Required()) {
		s.lossy[i] = s.spare[i][:0]
	}
	return s.coder.ReconstructData(s.lossy)
}

func (s *stripe) open() error {
	for i := range s.coder.Required() {
		if err := s.openChunk(s.chunks[i], i); err != nil {
			return err
		}
	}
	return nil
}
