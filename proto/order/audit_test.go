package order

import (
	"errors"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/pb"
)

func testAudit() *Audit {
	layout := erasure.Layout{Required: 2, Total: 4, Size: 256 << 10}
	return &Audit{Nonce: [16]byte{1, 2}, Issued: noon, Challenges: []Challenge{
		{Group: 7, Slot: 2, Seq: 5, Segment: SegmentID{9}, Root: merkle.Hash{8}, Layout: layout, Leaf: 31},
		{Group: 8, Slot: 3, Seq: 6, Segment: SegmentID{7}, Root: merkle.Hash{6}, Layout: layout, Leaf: 0},
	}}
}

func testAnswers() []Answer {
	return []Answer{
		{Status: Proved, Leaf: make([]byte, 4096), Proof: merkle.Proof{Path: []merkle.Hash{{1}, {2}}, SlotPath: []merkle.Hash{{3}}}},
		{Status: Missing}, {Status: Corrupt}, {Status: Unavailable},
		{Status: Missing, Claim: merkle.Hash{1}}, {Status: Corrupt, Claim: merkle.Hash{2}},
	}
}

func TestAuditTravels(t *testing.T) {
	raw, err := proto.Marshal(testAudit().Message())
	if err != nil {
		t.Fatal(err)
	}
	var m pb.Audit
	if err := proto.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	if got, err := AuditFrom(&m); err != nil || !reflect.DeepEqual(got, testAudit()) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, a := range testAnswers() {
		if got, err := AnswerFrom(a.Message()); err != nil || got.Hash() != a.Hash() || got.Status != a.Status {
			t.Errorf("%+v: %+v, %v", a, got, err)
		}
	}
}

// TestHashesBind changes each field of what is signed by its hash.
func TestHashesBind(t *testing.T) {
	seen := map[merkle.Hash]string{}
	add := func(name string, h merkle.Hash) {
		if other, ok := seen[h]; ok {
			t.Errorf("%s has the hash of %s", name, other)
		}
		seen[h] = name
	}
	base := testAudit().Challenges[0]
	add("base", base.Hash())
	for name, change := range map[string]func(*Challenge){
		"group": func(c *Challenge) { c.Group++ }, "slot": func(c *Challenge) { c.Slot++ }, "seq": func(c *Challenge) { c.Seq++ },
		"segment": func(c *Challenge) { c.Segment[15]++ }, "root": func(c *Challenge) { c.Root[31]++ },
		"required": func(c *Challenge) { c.Layout.Required++ }, "total": func(c *Challenge) { c.Layout.Total++ },
		"size": func(c *Challenge) { c.Layout.Size++ }, "leaf": func(c *Challenge) { c.Leaf++ },
	} {
		c := base
		change(&c)
		add(name, c.Hash())
	}
	answer := func(s Status, leaf string, path, slotPath int) {
		a := Answer{Status: s, Leaf: []byte(leaf), Proof: merkle.Proof{Path: make([]merkle.Hash, path), SlotPath: make([]merkle.Hash, slotPath)}}
		add("answer", a.Hash())
	}
	for _, s := range []Status{Proved, Missing, Corrupt, Unavailable} {
		answer(s, "", 0, 0)
	}
	zeros := string(make([]byte, 32))
	answer(Proved, zeros, 0, 0)
	answer(Proved, "", 1, 0)
	answer(Proved, "", 0, 1)
	answer(Proved, zeros, 1, 0)
	answer(Proved, zeros, 0, 1)
	answer(Proved, "", 1, 1)
	for _, s := range []Status{Missing, Corrupt} {
		for _, claim := range []merkle.Hash{{1}, {31: 1}} {
			add("claim", (&Answer{Status: s, Claim: claim}).Hash())
		}
	}

	audit := testAudit()
	request := RequestHash(audit.Nonce, audit.Issued, audit.Hashes())
	add("request", request)
	add("nonce", RequestHash([16]byte{2}, audit.Issued, audit.Hashes()))
	add("issued", RequestHash(audit.Nonce, audit.Issued.Add(1e9), audit.Hashes()))
	add("fewer", RequestHash(audit.Nonce, audit.Issued, audit.Hashes()[:1]))
	const want = "17ccbaa038d6e5c13f825fb8a5809044a6040fdad38c2b1c0bd92d17d3cbbfa1"
	if got := request.String(); got != want {
		t.Errorf("the hash of a request is %s now", got)
	}
}

func TestBadAudits(t *testing.T) {
	for name, change := range map[string]func(*pb.Audit){
		"no nonce":         func(m *pb.Audit) { m.Nonce = nil },
		"no time":          func(m *pb.Audit) { m.Issued = 0 },
		"no challenges":    func(m *pb.Audit) { m.Challenges = nil },
		"too many":         func(m *pb.Audit) { m.Challenges = make([]*pb.Challenge, MaxChallenges+1) },
		"nil challenge":    func(m *pb.Audit) { m.Challenges[0] = nil },
		"group 0":          func(m *pb.Audit) { m.Challenges[0].Group = 0 },
		"entry 0":          func(m *pb.Audit) { m.Challenges[0].Seq = 0 },
		"slot beyond":      func(m *pb.Audit) { m.Challenges[0].Slot = 4 },
		"slot wraps":       func(m *pb.Audit) { m.Challenges[0].Slot = 1<<32 - 1 },
		"no segment":       func(m *pb.Audit) { m.Challenges[0].Segment = nil },
		"root cut":         func(m *pb.Audit) { m.Challenges[0].Root = m.Challenges[0].Root[1:] },
		"leaf beyond":      func(m *pb.Audit) { m.Challenges[0].Leaf = 32 },
		"leaf wraps":       func(m *pb.Audit) { m.Challenges[0].Leaf = 1<<32 - 1 },
		"size 0":           func(m *pb.Audit) { m.Challenges[0].Size = 0 },
		"size wraps":       func(m *pb.Audit) { m.Challenges[0].Size = 1<<64 - 1 },
		"no such layout":   func(m *pb.Audit) { m.Challenges[0].Size++ },
		"required 0":       func(m *pb.Audit) { m.Challenges[0].Required = 0 },
		"required is high": func(m *pb.Audit) { m.Challenges[0].Required = 1<<32 - 1 },
	} {
		m := testAudit().Message()
		change(m)
		if a, err := AuditFrom(m); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	for name, m := range map[string]*pb.AuditAnswer{
		"no status":            {},
		"unknown status":       {Status: 5},
		"missing with a leaf":  {Status: pb.AnswerStatus_ANSWER_STATUS_MISSING, Leaf: []byte{1}},
		"half a hash":          {Status: pb.AnswerStatus_ANSWER_STATUS_PROVED, Path: make([]byte, 33)},
		"half a slot hash":     {Status: pb.AnswerStatus_ANSWER_STATUS_PROVED, SlotPath: make([]byte, 31)},
		"leaf too long":        {Status: pb.AnswerStatus_ANSWER_STATUS_PROVED, Leaf: make([]byte, 4097)},
		"path too long":        {Status: pb.AnswerStatus_ANSWER_STATUS_PROVED, Path: make([]byte, 33*32)},
		"corrupt with a proof": {Status: pb.AnswerStatus_ANSWER_STATUS_CORRUPT, SlotPath: make([]byte, 32)},
		"half a claim":         {Status: pb.AnswerStatus_ANSWER_STATUS_MISSING, Claim: make([]byte, 31)},
		"claim of zeros":       {Status: pb.AnswerStatus_ANSWER_STATUS_MISSING, Claim: make([]byte, 32)},
		"proof with a claim":   {Status: pb.AnswerStatus_ANSWER_STATUS_PROVED, Claim: []byte("0123456789abcdef0123456789abcdef")},
		"claim without a word": {Status: pb.AnswerStatus_ANSWER_STATUS_UNAVAILABLE, Claim: []byte("0123456789abcdef0123456789abcdef")},
	} {
		if a, err := AnswerFrom(m); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

func FuzzAudit(f *testing.F) {
	raw, err := proto.Marshal(testAudit().Message())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m pb.Audit
		if proto.Unmarshal(raw, &m) != nil {
			return
		}
		a, err := AuditFrom(&m)
		if err != nil {
			return
		}
		again, err := AuditFrom(a.Message())
		if err != nil || !reflect.DeepEqual(a, again) || a.Validate() != nil {
			t.Fatalf("%+v became %+v, %v", a, again, err)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	for _, a := range testAnswers() {
		raw, err := proto.Marshal(a.Message())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m pb.AuditAnswer
		if proto.Unmarshal(raw, &m) != nil {
			return
		}
		a, err := AnswerFrom(&m)
		if err != nil {
			return
		}
		again, err := AnswerFrom(a.Message())
		if err != nil || a.Hash() != again.Hash() {
			t.Fatalf("%+v became %+v, %v", a, again, err)
		}
	})
}
