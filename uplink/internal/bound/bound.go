// Package bound measures the best this machine could do for a scheme: the work
// on the bytes alone, with no network and no disk, and the bare cost of moving
// them over libp2p. Benchmarks hold the real thing against it.
package bound

import (
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/uplink/internal/keys"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// Rates are in bytes per second: of user data, or on the wire.
type Rates struct {
	Encode float64 // seal → code → hash, of user data
	Decode float64 // open → decode, nothing lost, of user data
	Send   float64 // over libp2p to one process for each slot, on the wire
	Fetch  float64 // over libp2p from one process for each data slot, on the wire
}

// Upload is the rate at which the work and the transport together could put
// data, the one not overlapping the other because both want the same cores.
func (r Rates) Upload(s erasure.Scheme) float64 {
	expansion := float64(s.Total) / float64(s.Required)
	return 1 / (1/r.Encode + expansion/r.Send)
}

// Download is the same for getting data.
func (r Rates) Download() float64 {
	return 1 / (1/r.Decode + 1/r.Fetch)
}

// Measure takes about four times the duration.
func Measure(scheme erasure.Scheme, cores int, duration time.Duration, spawn Spawn) (Rates, error) {
	coder, err := erasure.NewCoder(scheme.Required, scheme.Total)
	if err != nil {
		return Rates{}, err
	}
	stripes := make([]*stripe, cores)
	for i := range stripes {
		stripes[i] = newStripe(coder)
	}
	var rates Rates
	if rates.Encode, err = perSecond(stripes, duration, (*stripe).encode); err != nil {
		return rates, err
	}
	if rates.Decode, err = perSecond(stripes, duration, (*stripe).decode); err != nil {
		return rates, err
	}
	if rates.Send, err = transportRate(spawn, scheme.Total, takeProtocol, duration); err != nil {
		return rates, err
	}
	rates.Fetch, err = transportRate(spawn, scheme.Required, giveProtocol, duration)
	return rates, err
}

// perSecond runs the work on every stripe at once and returns the plaintext
// bytes all of them did per second.
func perSecond(stripes []*stripe, duration time.Duration, work func(*stripe) error) (float64, error) {
	var (
		wait  sync.WaitGroup
		bytes atomic.Int64
		fault atomic.Pointer[error]
	)
	start := time.Now()
	for _, s := range stripes {
		wait.Go(func() {
			for time.Since(start) < duration {
				if err := work(s); err != nil {
					fault.Store(&err)
					return
				}
				bytes.Add(int64(len(s.plain)))
			}
		})
	}
	wait.Wait()
	if err := fault.Load(); err != nil {
		return 0, *err
	}
	return float64(bytes.Load()) / time.Since(start).Seconds(), nil
}

// stripe is one worker's share: a stripe of plaintext and what becomes of it.
type stripe struct {
	coder   *erasure.Coder
	segment *seal.Segment
	plain   []byte
	opened  []byte
	chunks  [][]byte
	hashers []*merkle.Hasher
}

func newStripe(coder *erasure.Coder) *stripe {
	s := &stripe{
		coder:   coder,
		segment: seal.NewSegment(keys.Content{}, [16]byte{}, 0),
		plain:   make([]byte, coder.Required()*seal.ChunkPlain),
		opened:  make([]byte, 0, seal.ChunkPlain),
		chunks:  make([][]byte, coder.Total()),
		hashers: make([]*merkle.Hasher, coder.Total()),
	}
	rand.Read(s.plain)
	for i := range s.chunks {
		s.chunks[i] = make([]byte, erasure.ChunkSize)
		s.hashers[i] = merkle.NewHasher(erasure.ChunkSize)
	}
	return s
}

func (s *stripe) encode() error {
	for i := range s.coder.Required() {
		plain := s.plain[i*seal.ChunkPlain:][:seal.ChunkPlain]
		s.segment.Seal(s.chunks[i][:0], plain, uint64(i))
	}
	if err := s.coder.Encode(s.chunks); err != nil {
		return err
	}
	for i, chunk := range s.chunks {
		s.hashers[i].Reset()
		s.hashers[i].Write(chunk)
		s.hashers[i].Root()
	}
	return nil
}

func (s *stripe) decode() error {
	if err := s.coder.ReconstructData(s.chunks); err != nil {
		return err
	}
	for i := range s.coder.Required() {
		if _, err := s.segment.Open(s.opened, s.chunks[i], uint64(i)); err != nil {
			return err
		}
	}
	return nil
}
