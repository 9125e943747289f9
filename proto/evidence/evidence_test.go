package evidence

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/internal/golden"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
)

var noon = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)

func key(n byte) ident.Key { return ident.FromSeed([32]byte{n}) }

var (
	satellite = key(1)
	node      = key(2)
	other     = key(3)
)

// Small segments keep the files short, so that every bit can be turned.
var layout = erasure.Layout{Required: 2, Total: 4, Size: 2 * 128}

const (
	group = 7
	slot  = 2
)

// shard is the node's shard of a segment.
type shard struct {
	id    order.SegmentID
	seq   uint64
	data  []byte
	roots []merkle.Hash
	root  merkle.Hash
}

func newShard(seq uint64) *shard {
	s := &shard{id: order.SegmentID{byte(seq), 1}, seq: seq}
	s.data = golden.Bytes("shard "+s.id.String(), int(layout.ShardSize()))
	for i := range layout.Total {
		s.roots = append(s.roots, merkle.Hash{byte(i), byte(seq)})
	}
	h := merkle.NewHasher(int64(len(s.data)))
	h.Write(s.data)
	s.roots[slot] = h.Root()
	s.root = merkle.SegmentRoot(layout, s.roots)
	return s
}

func (s *shard) challenge() order.Challenge {
	return order.Challenge{Group: group, Slot: slot, Seq: s.seq, Segment: s.id, Root: s.root, Layout: layout}
}

// prove answers a challenge on the shard, rightly.
func (s *shard) prove() order.Answer {
	h := merkle.NewHasher(int64(len(s.data)))
	h.Write(s.data)
	proof, err := merkle.Prove(layout, slot, s.roots, h.Subtrees(), 0, 1, s.data)
	if err != nil {
		panic(err)
	}
	return order.Answer{Status: order.Proved, Leaf: s.data, Proof: proof}
}

func claimUpTo(seq uint64, missing ...uint64) order.Claim {
	return order.Claim{
		Node: node.ID(), Satellite: satellite.ID(), Group: group, Epoch: 3, Slot: slot,
		Seq: seq, Missing: seqset.Numbers(missing), Issued: noon,
	}
}

func signClaim(t testing.TB, c order.Claim) *pb.Signed {
	t.Helper()
	signed, err := order.SignClaim(node, &c)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// audited is an audit that a node has answered and signed.
type audited struct {
	audit   *order.Audit
	answers []order.Answer
	report  *pb.Signed
}

func answered(t testing.TB, signer ident.Key, challenges []order.Challenge, answers []order.Answer) *audited {
	t.Helper()
	a := &audited{audit: &order.Audit{Nonce: [16]byte{5}, Issued: noon, Challenges: challenges}, answers: answers}
	var hashes []merkle.Hash
	for i := range answers {
		hashes = append(hashes, answers[i].Hash())
	}
	var err error
	a.report, err = order.SignReport(signer, &order.Report{
		Node: signer.ID(), Satellite: satellite.ID(), Answered: noon.Add(time.Second),
		Request: order.RequestHash(a.audit.Nonce, a.audit.Issued, a.audit.Hashes()),
		Answers: order.AnswersHash(hashes),
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *audited) evidence(index int, claim *pb.Signed) *Evidence {
	return New(node.ID(), a.audit, a.answers, index, a.report, claim)
}

// falseProof is a node that made a leaf up.
func falseProof(t testing.TB) *Evidence {
	one, two := newShard(4), newShard(9)
	lie := two.prove()
	lie.Leaf = bytes.Clone(lie.Leaf)
	lie.Leaf[7] ^= 1
	a := answered(t, node, []order.Challenge{one.challenge(), two.challenge()}, []order.Answer{one.prove(), lie})
	return a.evidence(1, nil)
}

// lacking is a node that lacks what it claims.
func lacking(t testing.TB, status order.Status) *Evidence {
	one, two := newShard(4), newShard(9)
	claim := signClaim(t, claimUpTo(12, 3))
	lost := order.Answer{Status: status, Claim: order.Digest(claim)}
	a := answered(t, node, []order.Challenge{one.challenge(), two.challenge()}, []order.Answer{lost, two.prove()})
	return a.evidence(0, claim)
}

func guilty(t testing.TB) map[string]*Evidence {
	return map[string]*Evidence{
		"false proof": falseProof(t),
		"missing":     lacking(t, order.Missing),
		"corrupt":     lacking(t, order.Corrupt),
	}
}

func TestConvicts(t *testing.T) {
	f, err := falseProof(t).Check()
	if err != nil {
		t.Fatal(err)
	}
	want := &Finding{
		Node: node.ID(), Satellite: satellite.ID(), Guilt: FalseProof, Challenge: newShard(9).challenge(), Status: order.Proved,
		Asked: noon, Answered: noon.Add(time.Second),
	}
	if !reflect.DeepEqual(f, want) {
		t.Errorf("false proof: %+v, want %+v", f, want)
	}
	for _, status := range []order.Status{order.Missing, order.Corrupt} {
		f, err := lacking(t, status).Check()
		if err != nil {
			t.Fatal(err)
		}
		claim := claimUpTo(12, 3)
		want.Guilt, want.Status, want.Challenge, want.Claim = Lacking, status, newShard(4).challenge(), &claim
		if !reflect.DeepEqual(f, want) {
			t.Errorf("%s: %+v, want %+v", status, f, want)
		}
	}
}

func TestFileComesBack(t *testing.T) {
	for name, e := range guilty(t) {
		back, err := Parse(e.Marshal())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := back.Check(); err != nil || !bytes.Equal(back.Marshal(), e.Marshal()) {
			t.Errorf("%s: came back as %+v, %v", name, back, err)
		}
	}
}

// TestEveryBitCounts turns each bit of files that convict: none may convict any
// more, of anything.
func TestEveryBitCounts(t *testing.T) {
	for name, e := range map[string]*Evidence{"false proof": falseProof(t), "missing": lacking(t, order.Missing)} {
		file := e.Marshal()
		for i := range 8 * len(file) {
			file[i/8] ^= 1 << (i % 8)
			if f, err := convicts(file); err == nil {
				t.Errorf("%s: still convicts with bit %d of byte %d turned: %+v", name, i%8, i/8, f)
			} else if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrNewer) && !errors.Is(err, ErrNothing) {
				t.Errorf("%s: unexpected error %v", name, err)
			}
			file[i/8] ^= 1 << (i % 8)
		}
		for n := range file {
			if _, err := convicts(file[:n]); err == nil {
				t.Errorf("%s: convicts when cut at %d", name, n)
			}
		}
		if _, err := convicts(append(file, 0)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s with a byte too many: %v", name, err)
		}
	}
}

func convicts(file []byte) (*Finding, error) {
	e, err := Parse(file)
	if err != nil {
		return nil, err
	}
	return e.Check()
}

// TestProvesNothing tampers with what the bits of a file cannot reach: parts
// that are right by themselves and do not belong together.
func TestProvesNothing(t *testing.T) {
	withdrawn := signClaim(t, claimUpTo(12, 4))
	tests := []struct {
		name   string
		from   *Evidence
		change func(*Evidence)
		words  string
	}{
		{"no report", falseProof(t), func(e *Evidence) { e.Report = nil }, "missing"},
		{"another accused", falseProof(t), func(e *Evidence) { e.Node = other.ID() }, "signature"},
		{"another nonce", falseProof(t), func(e *Evidence) { e.Nonce[15]++ }, "another audit"},
		{"another time", falseProof(t), func(e *Evidence) { e.Issued = noon.Add(-time.Hour) }, "another audit"},
		{"challenges in another order", falseProof(t), func(e *Evidence) {
			e.Challenges[0], e.Challenges[1] = e.Challenges[1], e.Challenges[0]
		}, "another audit"},
		{"answers in another order", falseProof(t), func(e *Evidence) {
			e.Answers[0], e.Answers[1] = e.Answers[1], e.Answers[0]
		}, "other answers"},
		{"an answer less", falseProof(t), func(e *Evidence) { e.Answers = e.Answers[:1] }, "2 challenges and 1 answers"},
		{"index of another", falseProof(t), func(e *Evidence) { e.Index = 0 }, "not number 0"},
		{"index beyond", falseProof(t), func(e *Evidence) { e.Index = 2 }, "no answer 2"},
		{"index before", falseProof(t), func(e *Evidence) { e.Index = -1 }, "no answer -1"},
		{"the challenge of another answer", falseProof(t), func(e *Evidence) { e.Challenge = newShard(4).challenge() }, "challenge is not"},
		{"another challenge", falseProof(t), func(e *Evidence) { e.Challenge.Root[0]++ }, "challenge is not"},
		{"the answer of another challenge", falseProof(t), func(e *Evidence) { e.Answer = newShard(4).prove() }, "answer is not"},
		{"a right answer", falseProof(t), func(e *Evidence) {
			e.Index, e.Challenge, e.Answer = 0, newShard(4).challenge(), newShard(4).prove()
		}, "proof is right"},
		{"a claim too many", falseProof(t), func(e *Evidence) { e.Claim = withdrawn }, "claim comes with"},
		{"no claim", lacking(t, order.Missing), func(e *Evidence) { e.Claim = nil }, "missing"},
		{"a claim that leaves it out", lacking(t, order.Missing), func(e *Evidence) { e.Claim = withdrawn }, "another than the node names"},
		{"a forged claim", lacking(t, order.Missing), func(e *Evidence) {
			e.Claim = &pb.Signed{Body: e.Claim.Body, Signature: other.Sign("cairn/v1/claim", e.Claim.Body)}
		}, "signature"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.change(test.from)
			f, err := test.from.Check()
			if !errors.Is(err, ErrNothing) || !strings.Contains(err.Error(), test.words) {
				t.Errorf("%+v, %v; want %q", f, err, test.words)
			}
			if back, err := Parse(test.from.Marshal()); err == nil {
				if _, err := back.Check(); !errors.Is(err, ErrNothing) {
					t.Errorf("written to a file: %v", err)
				}
			}
		})
	}
}

// TestClaimMustFit signs answers that name a claim which says nothing of what
// was asked.
func TestClaimMustFit(t *testing.T) {
	for name, change := range map[string]func(*order.Claim){
		"other satellite": func(c *order.Claim) { c.Satellite = other.ID() },
		"other group":     func(c *order.Claim) { c.Group++ },
		"other slot":      func(c *order.Claim) { c.Slot++ },
		"ends before":     func(c *order.Claim) { c.Seq, c.Missing = 3, nil },
		"leaves it out":   func(c *order.Claim) { c.Missing = seqset.Numbers([]uint64{4}) },
	} {
		claim := claimUpTo(12, 3)
		change(&claim)
		signed := signClaim(t, claim)
		a := answered(t, node, []order.Challenge{newShard(4).challenge()},
			[]order.Answer{{Status: order.Missing, Claim: order.Digest(signed)}})
		if f, err := a.evidence(0, signed).Check(); !errors.Is(err, ErrNothing) {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
	for _, answer := range []order.Answer{{Status: order.Missing}, {Status: order.Corrupt}, {Status: order.Unavailable}} {
		a := answered(t, node, []order.Challenge{newShard(4).challenge()}, []order.Answer{answer})
		for _, claim := range []*pb.Signed{nil, signClaim(t, claimUpTo(12))} {
			if f, err := a.evidence(0, claim).Check(); !errors.Is(err, ErrNothing) {
				t.Errorf("%s without a claim named: %+v, %v", answer.Status, f, err)
			}
		}
	}
}

func TestBadFiles(t *testing.T) {
	good := falseProof(t).Marshal()
	for name, file := range map[string][]byte{
		"empty": nil, "another kind": []byte("hello"), "headline alone": []byte(headline), "rubbish": append([]byte(headline), 0xff),
		"too long": append(bytes.Clone(good), make([]byte, MaxFile)...),
		"twice":    append(bytes.Clone(good), good[len(headline):]...),
		"unknown":  append(bytes.Clone(good), 0xa8, 0x06, 1), // field 101
	} {
		if e, err := Parse(file); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
	newer := bytes.Replace(good, []byte("evidence 1"), []byte("evidence 2"), 1)
	if e, err := Parse(newer); !errors.Is(err, ErrNewer) {
		t.Errorf("newer: %+v, %v", e, err)
	}
}

type vector struct {
	Name      string      `json:"name"`
	File      string      `json:"file"` // hexadecimal
	Node      ident.ID    `json:"node"`
	Satellite ident.ID    `json:"satellite"`
	Guilt     string      `json:"guilt"`
	Entry     uint64      `json:"entry"`
	Challenge merkle.Hash `json:"challenge_hash"`
	Answer    merkle.Hash `json:"answer_hash"`
}

func TestGolden(t *testing.T) {
	var vectors []vector
	for _, name := range []string{"false proof", "missing", "corrupt"} {
		e := guilty(t)[name]
		f, err := e.Check()
		if err != nil {
			t.Fatal(err)
		}
		vectors = append(vectors, vector{
			Name: name, File: hex.EncodeToString(e.Marshal()), Node: f.Node, Satellite: f.Satellite, Guilt: f.Guilt.String(),
			Entry: f.Challenge.Seq, Challenge: e.Challenge.Hash(), Answer: e.Answer.Hash(),
		})
	}
	golden.Check(t, "evidence.json", vectors)
}

// FuzzParse: a file that can be read is written the same again, and nobody is
// convicted by what no node has signed.
func FuzzParse(f *testing.F) {
	convict := map[string]bool{}
	for _, e := range guilty(f) {
		f.Add(e.Marshal())
		convict[string(e.Marshal())] = true
	}
	f.Add([]byte(headline))
	f.Fuzz(func(t *testing.T, file []byte) {
		e, err := Parse(file)
		if err != nil {
			return
		}
		if !bytes.Equal(e.Marshal(), file) {
			t.Fatalf("%x is written again as %x", file, e.Marshal())
		}
		if found, err := e.Check(); err == nil && !convict[string(file)] {
			t.Fatalf("convicted by a made-up file: %+v", found)
		}
	})
}
