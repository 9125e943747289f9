package order

import (
	"fmt"
	"math"
	"time"

	"github.com/minio/sha256-simd"
	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/pb"
)

// Signing contexts keep a signature over one kind of record from passing for
// one over another kind.
const (
	contextGroup     = "cairn/v1/group"
	contextLimit     = "cairn/v1/limit"
	contextReceipt   = "cairn/v1/receipt"
	contextHead      = "cairn/v1/head"
	contextClaim     = "cairn/v1/claim"
	contextReport    = "cairn/v1/report"
	contextDeparture = "cairn/v1/departure"
)

// sign marshals a record that its caller has validated and signs the bytes.
func sign(key ident.Key, context string, m proto.Message) (*pb.Signed, error) {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("marshal %s: %w", context, err)
	}
	if len(body) > MaxBody {
		return nil, refuse(ErrMalformed, "%s has %d bytes, more than %d", context, len(body), MaxBody)
	}
	return &pb.Signed{Body: body, Signature: key.Sign(context, body)}, nil
}

// open checks size and signature, and only then parses the body into m.
func open(signed *pb.Signed, signer ident.ID, context string, m proto.Message) error {
	if err := bound(signed, context); err != nil {
		return err
	}
	if !ident.Verify(signer, context, signed.Body, signed.Signature) {
		return refuse(ErrSignature, "%s is not signed by %s", context, signer)
	}
	return parse(signed.Body, context, m)
}

// Digest is the hash of a record's body, which names it.
func Digest(signed *pb.Signed) merkle.Hash { return sha256.Sum256(signed.GetBody()) }

func bound(signed *pb.Signed, context string) error {
	switch {
	case signed == nil || len(signed.Body) == 0:
		return refuse(ErrMalformed, "%s is missing", context)
	case len(signed.Body) > MaxBody:
		return refuse(ErrMalformed, "%s has %d bytes, more than %d", context, len(signed.Body), MaxBody)
	case len(signed.Signature) != ident.SignatureSize:
		return refuse(ErrSignature, "%s has a signature of %d bytes instead of %d",
			context, len(signed.Signature), ident.SignatureSize)
	}
	return nil
}

// parse refuses fields it does not know: one that narrows a permission must
// not be overlooked. A record that needs more fields gets a new context.
func parse(body []byte, context string, m proto.Message) error {
	if err := proto.Unmarshal(body, m); err != nil {
		return refuse(ErrMalformed, "%s cannot be parsed", context)
	}
	if hasUnknown(m) {
		return refuse(ErrMalformed, "%s has fields this version does not know", context)
	}
	return nil
}

func hasUnknown(m proto.Message) bool {
	r := m.ProtoReflect()
	if len(r.GetUnknown()) > 0 {
		return true
	}
	if g, ok := m.(*pb.GroupRecord); ok && g.Scheme != nil {
		return len(g.Scheme.ProtoReflect().GetUnknown()) > 0
	}
	return false
}

// idField reads a peer's public key from a message.
func idField(b []byte, what string) (ident.ID, error) {
	id, err := ident.IDFromBytes(b)
	if err != nil {
		return ident.ID{}, refuse(ErrMalformed, "%s is not an Ed25519 public key", what)
	}
	return id, nil
}

func hashField(b []byte, what string) (h merkle.Hash, err error) {
	if h, err = merkle.HashFromBytes(b); err != nil {
		return h, refuse(ErrMalformed, "%s has %d bytes instead of %d", what, len(b), len(h))
	}
	return h, nil
}

func serialField(b []byte) (s Serial, err error) {
	if len(b) != len(s) {
		return s, refuse(ErrMalformed, "serial has %d bytes instead of %d", len(b), len(s))
	}
	copy(s[:], b)
	return s, nil
}

func int64Field(v uint64, what string) (int64, error) {
	if v > math.MaxInt64 {
		return 0, refuse(ErrMalformed, "%s of %d is out of range", what, v)
	}
	return int64(v), nil
}

// maxUnix is the last second of the year 9999.
const maxUnix = 253402300799

func timeField(unix int64, what string) (time.Time, error) {
	if unix <= 0 || unix > maxUnix {
		return time.Time{}, refuse(ErrMalformed, "time %s of %d is out of range", what, unix)
	}
	return time.Unix(unix, 0).UTC(), nil
}

// fresh refuses what seems to come from the future. It is named only then: the
// text of an id is dear.
func fresh(issued, now time.Time, format string, of ...any) error {
	if issued.After(now.Add(Skew)) {
		return refuse(ErrExpired, "%s is dated %s, %s ahead of this clock: set the clocks right",
			fmt.Sprintf(format, of...), stamp(issued), issued.Sub(now).Round(time.Second))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
