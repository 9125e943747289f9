package satellite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc/metadata"
	"gopkg.in/macaroon.v2"

	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// An API key is a macaroon without location whose id is the project's id and
// 16 random bytes. Its caveats narrow what it allows; none is defined yet, and
// an unknown one allows nothing.
const (
	apiKeyNonce = 16
	maxAPIKey   = 4 << 10 // bytes
)

// newAPIKey makes an API key without caveats.
func newAPIKey(p *meta.Project, random io.Reader) ([]byte, error) {
	var nonce [apiKeyNonce]byte
	if _, err := io.ReadFull(random, nonce[:]); err != nil {
		return nil, fmt.Errorf("making an API key: %w", err)
	}
	m, err := macaroon.New(p.Secret[:], append(p.ID[:], nonce[:]...), "", macaroon.V2)
	if err != nil {
		return nil, fmt.Errorf("making an API key: %w", err)
	}
	key, err := m.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("making an API key: %w", err)
	}
	return key, nil
}

// parseAPIKey returns the macaroon and the project it is for. It proves
// nothing yet.
func parseAPIKey(key []byte) (*macaroon.Macaroon, meta.ProjectID, error) {
	var id meta.ProjectID
	if len(key) > maxAPIKey {
		return nil, id, fmt.Errorf("%w: the API key is too long", satclient.ErrDenied)
	}
	var m macaroon.Macaroon
	err := m.UnmarshalBinary(key)
	if err == nil && len(m.Id()) != len(id)+apiKeyNonce {
		err = errors.New("id of another length")
	}
	// One key has one spelling: nothing after it, no other format.
	if again, marshalErr := m.MarshalBinary(); err != nil || marshalErr != nil || m.Version() != macaroon.V2 || !bytes.Equal(again, key) {
		return nil, id, fmt.Errorf("%w: the API key is malformed", satclient.ErrDenied)
	}
	copy(id[:], m.Id())
	return &m, id, nil
}

// checkAPIKey checks the macaroon against the project's secret.
func checkAPIKey(m *macaroon.Macaroon, p *meta.Project) error {
	unknown := func(caveat string) error {
		return fmt.Errorf("caveat %.40q is not known", caveat)
	}
	if err := m.Verify(p.Secret[:], unknown, nil); err != nil {
		return fmt.Errorf("%w: the API key is not valid: %.120s", satclient.ErrDenied, err.Error())
	}
	return nil
}

// projectOf is the key under which a context has the project that its call was
// let in for.
type projectOf struct{}

// authorize returns the project of the API key that a request carries, or
// satclient.ErrDenied. One look is enough for a call.
func authorize(ctx context.Context, store *meta.Store) (meta.ProjectNumber, error) {
	if project, ok := ctx.Value(projectOf{}).(meta.ProjectNumber); ok {
		return project, nil
	}
	return new(keyring).project(ctx, store)
}

// keyringSize bounds how many API keys are remembered.
const keyringSize = 4096

// keyring remembers, by their hashes, API keys that were found valid, and their
// projects. As these and their secrets stay as they are, and no caveat that may
// cease to hold is defined, so do the verdicts. It is safe for concurrent use.
type keyring struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]meta.ProjectNumber
}

// project returns the project of the API key that a request carries.
func (k *keyring) project(ctx context.Context, store *meta.Store) (meta.ProjectNumber, error) {
	values := metadata.ValueFromIncomingContext(ctx, satclient.APIKeyHeader)
	if len(values) != 1 {
		return 0, fmt.Errorf("%w: the request carries no API key", satclient.ErrDenied)
	}
	key := []byte(values[0])
	hash := sha256.Sum256(key)
	k.mu.Lock()
	project, ok := k.known[hash]
	k.mu.Unlock()
	if ok {
		return project, nil
	}
	project, err := openAPIKey(ctx, store, key)
	if err == nil {
		k.remember(hash, project)
	}
	return project, err
}

func (k *keyring) remember(hash [sha256.Size]byte, project meta.ProjectNumber) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.known == nil || len(k.known) == keyringSize {
		k.known = make(map[[sha256.Size]byte]meta.ProjectNumber)
	}
	k.known[hash] = project
}

// openAPIKey returns the project of an API key.
func openAPIKey(ctx context.Context, store *meta.Store, key []byte) (meta.ProjectNumber, error) {
	m, id, err := parseAPIKey(key)
	if err != nil {
		return 0, err
	}
	p, err := store.Project(ctx, id)
	if errors.Is(err, meta.ErrProjectNotFound) {
		return 0, fmt.Errorf("%w: the API key is for a project that is not here", satclient.ErrDenied)
	}
	if err != nil {
		return 0, err
	}
	if err := checkAPIKey(m, &p); err != nil {
		return 0, err
	}
	return p.Number, nil
}

// admission lets a call in, or not, by its context, and returns the one to go on
// with.
type admission func(context.Context) (context.Context, error)

// admit refuses the calls of those who have no API key, before the message is
// read: it may be large.
func (k *keyring) admit(store *meta.Store) admission {
	return func(ctx context.Context) (context.Context, error) {
		project, err := k.project(ctx, store)
		if errors.Is(err, satclient.ErrDenied) {
			return nil, satclient.ToStatus(err)
		}
		if err != nil {
			return ctx, nil // the handler's to tell
		}
		return context.WithValue(ctx, projectOf{}, project), nil
	}
}
