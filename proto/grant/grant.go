// Package grant is the access grant: all that an uplink needs to use a
// project, in one line of text. Whoever has it can read and write the project,
// so it is a secret.
package grant

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/mr-tron/base58"
	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
)

// What can be wrong with the text of a grant. Errors of Parse wrap one.
var (
	ErrNotGrant    = errors.New("not an access grant")
	ErrDamaged     = errors.New("access grant is cut off or mistyped")
	ErrNewer       = errors.New("access grant was made by a newer version")
	ErrNoSatellite = errors.New("satellite address missing in the access grant")
	ErrIncomplete  = errors.New("access grant is incomplete")
)

const (
	prefix  = "cairn1"
	version = 1

	checksumSize    = 4
	checksumContext = "cairn/v1/grant"

	// MaxText is the most characters of a grant.
	MaxText = 8 << 10

	maxBody = 4 << 10
)

// Grant is what a grant's text holds.
type Grant struct {
	Satellite string   // multiaddr ending in /p2p/ID
	APIKey    []byte   // serialised macaroon
	RootKey   [32]byte // from the passphrase
}

// String is the text of the grant. It panics when the grant is not valid.
func (g Grant) String() string {
	if err := g.Validate(); err != nil {
		panic("grant: " + err.Error())
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(&pb.Grant{
		Version:   version,
		Satellite: g.Satellite,
		ApiKey:    g.APIKey,
		RootKey:   g.RootKey[:],
	})
	if err != nil {
		panic("grant: " + err.Error()) // Validate let nothing through that cannot be marshalled
	}
	return prefix + base58.Encode(append(body, checksum(body)...))
}

// Validate says whether the grant is whole. Errors wrap ErrNoSatellite or
// ErrIncomplete.
func (g Grant) Validate() error {
	at := strings.LastIndex(g.Satellite, "/p2p/")
	if at < 0 || !strings.HasPrefix(g.Satellite, "/") {
		return fmt.Errorf("%w: it has %.80q, where an address ends in /p2p/ID", ErrNoSatellite, g.Satellite)
	}
	if _, err := ident.ParseID(g.Satellite[at+len("/p2p/"):]); err != nil {
		return fmt.Errorf("%w: the address ends in a wrong ID: %w", ErrNoSatellite, err)
	}
	if len(g.APIKey) == 0 {
		return fmt.Errorf("%w: it has no API key", ErrIncomplete)
	}
	if g.RootKey == [32]byte{} {
		return fmt.Errorf("%w: it has no root key", ErrIncomplete)
	}
	if size := len(g.Satellite) + len(g.APIKey); size > maxBody-64 {
		return fmt.Errorf("%w: its address and API key of %d bytes are too long", ErrIncomplete, size)
	}
	return nil
}

// Parse reads the text of a grant. White space anywhere in it, as from a
// wrapped line, does not matter. Errors wrap ErrNotGrant, ErrDamaged, ErrNewer,
// ErrNoSatellite or ErrIncomplete.
func Parse(text string) (Grant, error) {
	body, err := decode(text)
	if err != nil {
		return Grant{}, err
	}
	var m pb.Grant
	if err := proto.Unmarshal(body, &m); err != nil {
		return Grant{}, fmt.Errorf("%w: its checksum is right but its content is not", ErrDamaged)
	}
	if m.Version > version || len(m.ProtoReflect().GetUnknown()) > 0 {
		return Grant{}, fmt.Errorf("%w (%d): get a newer uplink", ErrNewer, m.Version)
	}
	if m.Version < version {
		return Grant{}, fmt.Errorf("%w: it has no version", ErrIncomplete)
	}
	g := Grant{Satellite: m.Satellite, APIKey: m.ApiKey}
	if copy(g.RootKey[:], m.RootKey) != len(g.RootKey) || len(m.RootKey) != len(g.RootKey) {
		return Grant{}, fmt.Errorf("%w: its root key has %d bytes", ErrIncomplete, len(m.RootKey))
	}
	if err := g.Validate(); err != nil {
		return Grant{}, err
	}
	return g, nil
}

// decode undoes prefix, base58 and checksum.
func decode(text string) ([]byte, error) {
	if len(text) > 2*MaxText {
		return nil, fmt.Errorf("%w: it has %d characters", ErrNotGrant, len(text))
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, text)
	if err := checkPrefix(text); err != nil {
		return nil, err
	}
	raw, err := base58.Decode(text[len(prefix):])
	if err != nil || len(raw) <= checksumSize || len(raw) > maxBody+checksumSize {
		return nil, fmt.Errorf("%w: copy the whole line again", ErrDamaged)
	}
	body, sum := raw[:len(raw)-checksumSize], raw[len(raw)-checksumSize:]
	if !bytes.Equal(sum, checksum(body)) {
		return nil, fmt.Errorf("%w: its checksum is wrong; copy the whole line again", ErrDamaged)
	}
	return body, nil
}

func checkPrefix(text string) error {
	const name = "cairn"
	switch {
	case text == "":
		return fmt.Errorf("%w: it is empty", ErrNotGrant)
	case len(text) > MaxText:
		return fmt.Errorf("%w: it has %d characters", ErrNotGrant, len(text))
	case strings.HasPrefix(text, prefix):
		return nil
	case len(text) > len(name) && strings.HasPrefix(text, name) && text[len(name)] >= '2' && text[len(name)] <= '9':
		return fmt.Errorf("%w: get a newer uplink", ErrNewer)
	case len(text) >= len(prefix) && strings.EqualFold(text[:len(prefix)], prefix):
		return fmt.Errorf("%w: upper and lower case matter", ErrDamaged)
	default:
		return fmt.Errorf("%w: one begins with %s", ErrNotGrant, prefix)
	}
}

func checksum(body []byte) []byte {
	h := sha256.New()
	h.Write([]byte(checksumContext))
	h.Write(body)
	return h.Sum(nil)[:checksumSize]
}
