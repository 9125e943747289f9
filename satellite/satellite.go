// Package satellite is the party that says which storage nodes hold what: it
// keeps the metadata, plans placement groups, keeps their journals and signs
// order limits. It moves no payload.
package satellite

import (
	"io"
	"log/slog"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/satellite/meta"
)

// Satellite is one satellite. New makes it and Run runs it.
type Satellite struct {
	key      ident.Key
	meta     *meta.Store
	registry *registry
	groups   *groups
	now      func() time.Time
	rand     io.Reader
	log      *slog.Logger
}

// refusing returns why no writes are taken (satclient.ErrRefusing), or nil.
func (s *Satellite) refusing() error { return nil }
