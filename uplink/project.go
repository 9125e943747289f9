// Package uplink stores and retrieves files in a Cairn network. A Project,
// opened with an access grant, holds buckets, which hold objects: an upload is
// sealed, coded and sent straight to the storage nodes of a placement group, and
// a download is verified before a byte of it is handed on. The satellite learns
// neither content nor names.
package uplink

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/cairnstorage/cairn/proto/grant"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/satellite/satclient"
	"github.com/cairnstorage/cairn/uplink/internal/keys"
	"github.com/cairnstorage/cairn/uplink/internal/names"
)

// Project is what an access grant opens. It is safe for concurrent use and
// keeps connections, so one is to be shared and then closed.
type Project struct {
	satellite transport.Address
	root      [keys.Size]byte
	sat       *satclient.Client
	host      *transport.Host
	ownsHost  bool
	leases    *leases
	transfers *transfers

	log  *slog.Logger
	now  func() time.Time
	rand io.Reader

	mu      sync.Mutex
	buckets map[string]*names.Bucket // ciphers for names, by bucket
}

// maxBucketCiphers bounds the ciphers a Project remembers.
const maxBucketCiphers = 256

// Open opens the project of an access grant. It does not wait for the
// satellite: one that is down shows at the first call, as
// ErrSatelliteUnreachable.
func Open(ctx context.Context, accessGrant string, options ...Option) (*Project, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	access, err := grant.Parse(accessGrant)
	if err != nil {
		return nil, fmt.Errorf("open project: %w", err)
	}
	satellite, err := transport.ParseAddress(access.Satellite)
	if err != nil {
		return nil, fmt.Errorf("open project: the access grant's satellite address: %w", err)
	}
	c := newConfig(options)
	p := &Project{
		satellite: satellite,
		root:      access.RootKey,
		host:      c.host,
		log:       c.logger,
		now:       c.now,
		rand:      c.rand,
		buckets:   make(map[string]*names.Bucket),
	}
	if p.host == nil {
		if p.host, err = newHost(c); err != nil {
			return nil, fmt.Errorf("open project: %w", err)
		}
		p.ownsHost = true
	}
	if p.sat, err = satclient.New(p.host, satellite, satclient.Options{APIKey: access.APIKey}); err != nil {
		p.closeHost()
		return nil, fmt.Errorf("open project: %w", err)
	}
	p.leases = newLeases(p.sat, satellite.ID, p.host.ID(), p.now)
	p.transfers = newTransfers(p.host, p.leases, p.now)
	return p, nil
}

// newHost makes a host that dials and does not listen, known by a new identity.
func newHost(c config) (*transport.Host, error) {
	key, err := ident.Generate(c.rand)
	if err != nil {
		return nil, err
	}
	return transport.New(transport.Config{Key: key, Window: transport.FarWindow, Logger: c.logger})
}

// Close ends the project's connections. Uploads and downloads still open fail.
func (p *Project) Close() error {
	p.transfers.close()
	err := p.sat.Close()
	if hostErr := p.closeHost(); err == nil {
		err = hostErr
	}
	return err
}

func (p *Project) closeHost() error {
	if !p.ownsHost {
		return nil
	}
	return p.host.Close()
}

// names returns the name cipher of a bucket, or an error that wraps ErrName.
func (p *Project) names(bucket string) (*names.Bucket, error) {
	if err := names.CheckBucket(bucket); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.buckets[bucket]; b != nil {
		return b, nil
	}
	if len(p.buckets) >= maxBucketCiphers {
		clear(p.buckets)
	}
	b := names.NewBucket(keys.Bucket(p.root, bucket))
	p.buckets[bucket] = b
	return b, nil
}

// name is an object key as it was given and as the satellite knows it.
type name struct {
	bucket, key string
	sealed      []byte
	metadata    [keys.Size]byte // seals the object's secret
}

// name encrypts an object key, or returns an error that wraps ErrName.
func (p *Project) name(bucket, key string) (name, error) {
	cipher, err := p.names(bucket)
	if err != nil {
		return name{}, err
	}
	sealed, err := cipher.Encrypt(key)
	if err != nil {
		return name{}, err
	}
	return name{bucket, key, sealed, cipher.Metadata(key)}, nil
}

// at adds to err what was being done to the object.
func (n name) at(err error, doing string) error { return at(err, doing, n.bucket, n.key) }
