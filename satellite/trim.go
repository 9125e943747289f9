package satellite

import (
	"context"
	"time"

	"github.com/cairnstorage/cairn/satellite/meta"
)

// trimEvery is often enough for entries to go not much too late.
func (s *Satellite) trimEvery() time.Duration {
	return min(max(s.config.Tombstones/64, time.Second), time.Hour)
}

// trim drops old entries from the journals, and the ids of segments with them
// if no receipt can be good any more by then: nodes keep what they staged no
// longer than that, and half of it is how old a receipt may be.
func (s *Satellite) trim(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return nil // no writes are taken
	}
	done, err := s.meta.Trim(ctx, meta.TrimRequest{
		Keep: s.config.Tombstones, Forget: s.config.Tombstones >= s.config.Staging,
	})
	if done.Entries > 0 {
		s.log.Info("trimmed journals", "entries", done.Entries, "segments", done.Segments)
	}
	return err
}
