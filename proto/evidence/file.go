package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
)

var (
	// ErrFormat is returned for a file that holds no evidence, or is damaged.
	ErrFormat = errors.New("not a file of evidence")
	// ErrNewer is returned for a file of a version that this one cannot read.
	ErrNewer = errors.New("evidence of a newer version")
)

// MaxFile is the most bytes that a file of evidence has: two lists of 512
// hashes, a leaf with its proof, a claim and a report.
const MaxFile = 64 << 10

const (
	headline = "cairn evidence 1\n"
	name     = "cairn evidence "
)

// Marshal makes the content of a file.
func (e *Evidence) Marshal() []byte {
	m := &pb.Evidence{
		Node: e.Node[:], Report: e.Report, Nonce: e.Nonce[:], Issued: e.Issued.Unix(),
		Challenges: merkle.JoinHashes(e.Challenges), Answers: merkle.JoinHashes(e.Answers), Index: uint32(e.Index),
		Challenge: e.Challenge.Message(), Answer: e.Answer.Message(), Claim: e.Claim,
	}
	content, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend([]byte(headline), m)
	if err != nil {
		panic("evidence: " + err.Error()) // it has no strings that could be wrong
	}
	return content
}

// Parse reads what Marshal makes. There is one file for each evidence: what
// could be written differently is refused. Errors wrap ErrFormat or ErrNewer.
func Parse(file []byte) (*Evidence, error) {
	body, found := bytes.CutPrefix(file, []byte(headline))
	switch {
	case !found && bytes.HasPrefix(file, []byte(name)):
		return nil, ErrNewer
	case !found:
		return nil, fmt.Errorf("%w: one begins with the words %q", ErrFormat, headline[:len(headline)-1])
	case len(file) > MaxFile:
		return nil, fmt.Errorf("%w: it has %d bytes, at most %d", ErrFormat, len(file), MaxFile)
	}
	var m pb.Evidence
	if err := proto.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("%w: it is damaged", ErrFormat)
	}
	e, err := fromMessage(&m)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if !bytes.Equal(e.Marshal(), file) {
		return nil, fmt.Errorf("%w: it holds more than belongs there", ErrFormat)
	}
	return e, nil
}

func fromMessage(m *pb.Evidence) (e *Evidence, err error) {
	e = &Evidence{Report: m.Report, Issued: time.Unix(m.Issued, 0).UTC(), Index: int(m.Index), Claim: m.Claim}
	if e.Node, err = ident.IDFromBytes(m.Node); err != nil {
		return nil, err
	}
	if len(m.Nonce) != len(e.Nonce) {
		return nil, fmt.Errorf("the nonce has %d bytes", len(m.Nonce))
	}
	copy(e.Nonce[:], m.Nonce)
	if e.Challenges, err = merkle.SplitHashes(m.Challenges); err != nil {
		return nil, err
	}
	if e.Answers, err = merkle.SplitHashes(m.Answers); err != nil {
		return nil, err
	}
	if e.Challenge, err = order.ChallengeFrom(m.Challenge); err != nil {
		return nil, err
	}
	if m.Answer == nil {
		return nil, errors.New("there is no answer")
	}
	e.Answer, err = order.AnswerFrom(m.Answer)
	return e, err
}
