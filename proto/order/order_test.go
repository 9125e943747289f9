package order

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/erasure"
	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
)

var noon = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)

// key is the same for the same number, everywhere and always.
func key(n byte) ident.Key {
	var seed [32]byte
	for i := range seed {
		seed[i] = n
	}
	return ident.FromSeed(seed)
}

var (
	satellite = key(1)
	uplink    = key(2)
	stranger  = key(3)
)

func nodeKey(slot int) ident.Key { return key(byte(100 + slot)) }

func testGroup() *Group {
	g := &Group{
		Satellite: satellite.ID(),
		ID:        7,
		Epoch:     3,
		Scheme:    erasure.Scheme{Required: 2, RepairBelow: 2, Success: 3, Total: 4},
		Issued:    noon,
	}
	for slot := range g.Scheme.Total {
		g.Nodes = append(g.Nodes, nodeKey(slot).ID())
	}
	return g
}

func testLimit() *Limit {
	return &Limit{
		Satellite: satellite.ID(),
		Serial:    Serial{1, 2, 3},
		Uplink:    uplink.ID(),
		Group:     7,
		Epoch:     3,
		Action:    ActionPut,
		MaxBytes:  1 << 30,
		Issued:    noon,
		Expires:   noon.Add(LimitLife),
	}
}

func testReceipt() *Receipt {
	return &Receipt{
		Node:    nodeKey(2).ID(),
		Segment: SegmentID{9, 8, 7},
		Root:    merkle.Hash{4, 5, 6},
		Size:    128 << 10,
		Group:   7,
		Epoch:   3,
		Slot:    2,
		Serial:  Serial{1, 2, 3},
		Stored:  noon,
	}
}

func testHead() *Head {
	return &Head{Satellite: satellite.ID(), Group: 7, Seq: 42, Issued: noon}
}

func testClaim() *Claim {
	return &Claim{
		Node:      nodeKey(2).ID(),
		Satellite: satellite.ID(),
		Group:     7,
		Epoch:     3,
		Slot:      2,
		Seq:       42,
		Missing:   seqset.Of(seqset.Run{First: 3, Last: 5}, seqset.Run{First: 42, Last: 42}),
		Issued:    noon,
	}
}

func testReport() *Report {
	return &Report{
		Node: nodeKey(2).ID(), Satellite: satellite.ID(), Request: merkle.Hash{1, 2}, Answers: merkle.Hash{3, 4}, Answered: noon,
	}
}

func testDeparture() *Departure {
	return &Departure{Satellite: satellite.ID(), Node: nodeKey(2).ID(), Slots: 4, Completed: noon}
}

// kind runs one kind of record through the same tests as the others.
type kind struct {
	name   string
	signer ident.Key
	sample func() any
	sign   func(ident.Key, any) (*pb.Signed, error)
	open   func(*pb.Signed, ident.ID) (any, error)
	body   func() proto.Message
}

func kinds() []kind {
	return []kind{
		{"group", satellite, func() any { return testGroup() },
			func(k ident.Key, r any) (*pb.Signed, error) { return SignGroup(k, r.(*Group)) },
			func(s *pb.Signed, id ident.ID) (any, error) { return OpenGroup(s, id) },
			func() proto.Message { return new(pb.GroupRecord) }},
		{"limit", satellite, func() any { return testLimit() },
			func(k ident.Key, r any) (*pb.Signed, error) { return SignLimit(k, r.(*Limit)) },
			func(s *pb.Signed, id ident.ID) (any, error) { return OpenLimit(s, id) },
			func() proto.Message { return new(pb.OrderLimit) }},
		{"receipt", nodeKey(2), func() any { return testReceipt() },
			func(k ident.Key, r any) (*pb.Signed, error) { return SignReceipt(k, r.(*Receipt)) },
			func(s *pb.Signed, id ident.ID) (any, error) { return OpenReceipt(s, id) },
			func() proto.Message { return new(pb.Receipt) }},
		{"head", satellite, func() any { return testHead() },
			func(k ident.Key, r any) (*pb.Signed, error) { return SignHead(k, r.(*Head)) },
			func(s *pb.Signed, id ident.ID) (any, error) { return OpenHead(s, id) },
			func() proto.Message { return new(pb.JournalHead) }},
		{"claim", nodeKey(2), func() any { return testClaim() },
			func(k ident.Key, r any) (*pb.Signed, error) { return SignClaim(k, r.(*Claim)) },
			func(s *pb.Signed, id ident.ID) (any, error) { return OpenClaim(s, id) },
			func() proto.Message { return new(pb.Claim) }},
		{"report", nodeKey(2), func() any { return testReport() },
			func(k ident.Key, r any) (*pb.Signed, error) { return SignReport(k, r.(*Report)) },
			func(s *pb.Signed, id ident.ID) (any, error) { return OpenReport(s, id) },
			func() proto.Message { return new(pb.AuditReport) }},
		{"departure", satellite, func() any { return testDeparture() },
			func(k ident.Key, r any) (*pb.Signed, error) { return SignDeparture(k, r.(*Departure)) },
			func(s *pb.Signed, id ident.ID) (any, error) { return OpenDeparture(s, id) },
			func() proto.Message { return new(pb.Departure) }},
	}
}

func mustSign(t testing.TB, k kind) *pb.Signed {
	t.Helper()
	signed, err := k.sign(k.signer, k.sample())
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// want fails the test unless err is a Refusal for exactly the reason given.
func want(t *testing.T, err, reason error) {
	t.Helper()
	if reason == nil {
		if err != nil {
			t.Fatalf("got %v, want no error", err)
		}
		return
	}
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Reason != reason {
		t.Fatalf("got %v, want a refusal wrapping %q", err, reason)
	}
	if refusal.Detail == "" || !strings.HasPrefix(err.Error(), reason.Error()) {
		t.Fatalf("refusal %q says too little", err)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			signed := mustSign(t, k)
			got, err := k.open(signed, k.signer.ID())
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, k.sample()) {
				t.Fatalf("got %+v, want %+v", got, k.sample())
			}
		})
	}
}

func TestEveryBitIsSigned(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			signed := mustSign(t, k)
			for _, part := range [][]byte{signed.Body, signed.Signature} {
				for bit := range len(part) * 8 {
					part[bit/8] ^= 1 << (bit % 8)
					_, err := k.open(signed, k.signer.ID())
					want(t, err, ErrSignature)
					part[bit/8] ^= 1 << (bit % 8)
				}
			}
			_, err := k.open(signed, k.signer.ID())
			want(t, err, nil)
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, k := range kinds() {
		signed := mustSign(t, k)
		resign := func(body []byte) *pb.Signed {
			return &pb.Signed{Body: body, Signature: k.signer.Sign("cairn/v1/"+k.name, body)}
		}
		tests := []struct {
			name   string
			signed *pb.Signed
			signer ident.ID
			reason error
		}{
			{"nothing", nil, k.signer.ID(), ErrMalformed},
			{"empty", &pb.Signed{}, k.signer.ID(), ErrMalformed},
			{"no signature", &pb.Signed{Body: signed.Body}, k.signer.ID(), ErrSignature},
			{"short signature", &pb.Signed{Body: signed.Body, Signature: signed.Signature[:63]}, k.signer.ID(), ErrSignature},
			{"long signature", &pb.Signed{Body: signed.Body, Signature: append(signed.Signature, 0)}, k.signer.ID(), ErrSignature},
			{"another signer", signed, stranger.ID(), ErrSignature},
			{"no signer", signed, ident.ID{}, ErrSignature},
			{"too long", resign(make([]byte, MaxBody+1)), k.signer.ID(), ErrMalformed},
			{"no protobuf", resign([]byte{0xff, 0xff}), k.signer.ID(), ErrMalformed},
			{"unknown field", resign(append(signed.Body[:len(signed.Body):len(signed.Body)], 0xa0, 0x06, 1)), k.signer.ID(), ErrMalformed},
			{"in a stranger's name", &pb.Signed{Body: signed.Body,
				Signature: stranger.Sign("cairn/v1/"+k.name, signed.Body)}, stranger.ID(), ErrPeer},
		}
		for _, other := range kinds() {
			if other.name != k.name {
				tests = append(tests, struct {
					name   string
					signed *pb.Signed
					signer ident.ID
					reason error
				}{"as " + other.name, &pb.Signed{Body: signed.Body,
					Signature: k.signer.Sign("cairn/v1/"+other.name, signed.Body)}, k.signer.ID(), ErrSignature})
			}
		}
		for _, test := range tests {
			t.Run(k.name+"/"+test.name, func(t *testing.T) {
				_, err := k.open(test.signed, test.signer)
				want(t, err, test.reason)
			})
		}
	}
}

// TestFieldsAreChecked signs bodies that say impossible things.
func TestFieldsAreChecked(t *testing.T) {
	tests := []struct {
		kind   string
		name   string
		change func(proto.Message)
	}{
		{"group", "satellite cut", func(m proto.Message) { g(m).Satellite = g(m).Satellite[:31] }},
		{"group", "number 0", func(m proto.Message) { g(m).Group = 0 }},
		{"group", "epoch 0", func(m proto.Message) { g(m).Epoch = 0 }},
		{"group", "no scheme", func(m proto.Message) { g(m).Scheme = nil }},
		{"group", "scheme wraps", func(m proto.Message) { g(m).Scheme.Total += 1 << 31 }},
		{"group", "scheme falls", func(m proto.Message) { g(m).Scheme.Success = 1 }},
		{"group", "scheme unknown field", func(m proto.Message) {
			g(m).Scheme.ProtoReflect().SetUnknown([]byte{0xa0, 0x06, 1})
		}},
		{"group", "no nodes", func(m proto.Message) { g(m).Nodes = nil }},
		{"group", "one too few", func(m proto.Message) { g(m).Nodes = g(m).Nodes[:3] }},
		{"group", "one too many", func(m proto.Message) { g(m).Nodes = append(g(m).Nodes, make([]byte, 32)) }},
		{"group", "node twice", func(m proto.Message) { g(m).Nodes[3] = g(m).Nodes[0] }},
		{"group", "node of zeros", func(m proto.Message) { g(m).Nodes[3] = make([]byte, 32) }},
		{"group", "node cut", func(m proto.Message) { g(m).Nodes[3] = g(m).Nodes[3][:5] }},
		{"group", "no time", func(m proto.Message) { g(m).Issued = 0 }},
		{"group", "time out of range", func(m proto.Message) { g(m).Issued = maxUnix + 1 }},
		{"limit", "no serial", func(m proto.Message) { l(m).Serial = make([]byte, 16) }},
		{"limit", "serial cut", func(m proto.Message) { l(m).Serial = l(m).Serial[:15] }},
		{"limit", "uplink cut", func(m proto.Message) { l(m).Uplink = nil }},
		{"limit", "group 0", func(m proto.Message) { l(m).Group = 0 }},
		{"limit", "epoch 0", func(m proto.Message) { l(m).Epoch = 0 }},
		{"limit", "no action", func(m proto.Message) { l(m).Action = 0 }},
		{"limit", "unknown action", func(m proto.Message) { l(m).Action = 3 }},
		{"limit", "no bytes", func(m proto.Message) { l(m).MaxBytes = 0 }},
		{"limit", "bytes wrap", func(m proto.Message) { l(m).MaxBytes = 1 << 63 }},
		{"limit", "time issued negative", func(m proto.Message) { l(m).Issued = -1 }},
		{"limit", "no expiry", func(m proto.Message) { l(m).Expires = 0 }},
		{"limit", "expires when issued", func(m proto.Message) { l(m).Expires = l(m).Issued }},
		{"limit", "lives too long", func(m proto.Message) { l(m).Expires = l(m).Issued + 86401 }},
		{"receipt", "segment cut", func(m proto.Message) { r(m).Segment = r(m).Segment[:15] }},
		{"receipt", "segment zero", func(m proto.Message) { r(m).Segment = make([]byte, 16) }},
		{"receipt", "root cut", func(m proto.Message) { r(m).Root = r(m).Root[1:] }},
		{"receipt", "no size", func(m proto.Message) { r(m).Size = 0 }},
		{"receipt", "size too large", func(m proto.Message) { r(m).Size = erasure.MaxSegment + 1 }},
		{"receipt", "size wraps", func(m proto.Message) { r(m).Size = 1<<64 - 1 }},
		{"receipt", "group 0", func(m proto.Message) { r(m).Group = 0 }},
		{"receipt", "epoch 0", func(m proto.Message) { r(m).Epoch = 0 }},
		{"receipt", "slot out of range", func(m proto.Message) { r(m).Slot = 255 }},
		{"receipt", "slot wraps", func(m proto.Message) { r(m).Slot = 1<<32 - 1 }},
		{"receipt", "no serial", func(m proto.Message) { r(m).Serial = nil }},
		{"receipt", "no time", func(m proto.Message) { r(m).Stored = 0 }},
		{"head", "group 0", func(m proto.Message) { h(m).Group = 0 }},
		{"head", "no satellite", func(m proto.Message) { h(m).Satellite = make([]byte, 32) }},
		{"head", "no time", func(m proto.Message) { h(m).Issued = 0 }},
		{"claim", "no satellite", func(m proto.Message) { c(m).Satellite = nil }},
		{"claim", "group 0", func(m proto.Message) { c(m).Group = 0 }},
		{"claim", "epoch 0", func(m proto.Message) { c(m).Epoch = 0 }},
		{"claim", "slot wraps", func(m proto.Message) { c(m).Slot = 1<<32 - 1 }},
		{"claim", "missing cut", func(m proto.Message) { c(m).Missing = c(m).Missing[:1] }},
		{"claim", "missing beyond its end", func(m proto.Message) { c(m).Seq = 41 }},
		{"claim", "missing number 0", func(m proto.Message) { c(m).Missing = []byte{0, 1} }},
		{"claim", "missing too scattered", func(m proto.Message) {
			c(m).Seq, c(m).Missing = 1<<40, bytes.Repeat([]byte{1, 1}, MaxClaimRuns+1)
		}},
		{"claim", "no time", func(m proto.Message) { c(m).Issued = 0 }},
		{"report", "no satellite", func(m proto.Message) { a(m).Satellite = nil }},
		{"report", "request cut", func(m proto.Message) { a(m).Request = a(m).Request[1:] }},
		{"report", "no answers", func(m proto.Message) { a(m).Answers = nil }},
		{"report", "no time", func(m proto.Message) { a(m).Answered = 0 }},
		{"departure", "no node", func(m proto.Message) { d(m).Node = nil }},
		{"departure", "no time", func(m proto.Message) { d(m).Completed = -1 }},
	}
	byName := map[string]kind{}
	for _, k := range kinds() {
		byName[k.name] = k
	}
	for _, test := range tests {
		t.Run(test.kind+"/"+test.name, func(t *testing.T) {
			k := byName[test.kind]
			m := k.body()
			if err := proto.Unmarshal(mustSign(t, k).Body, m); err != nil {
				t.Fatal(err)
			}
			test.change(m)
			signed, err := sign(k.signer, "cairn/v1/"+k.name, m)
			if err != nil {
				t.Fatal(err)
			}
			_, err = k.open(signed, k.signer.ID())
			want(t, err, ErrMalformed)
		})
	}
}

func g(m proto.Message) *pb.GroupRecord { return m.(*pb.GroupRecord) }
func l(m proto.Message) *pb.OrderLimit  { return m.(*pb.OrderLimit) }
func r(m proto.Message) *pb.Receipt     { return m.(*pb.Receipt) }
func h(m proto.Message) *pb.JournalHead { return m.(*pb.JournalHead) }
func c(m proto.Message) *pb.Claim       { return m.(*pb.Claim) }
func a(m proto.Message) *pb.AuditReport { return m.(*pb.AuditReport) }
func d(m proto.Message) *pb.Departure   { return m.(*pb.Departure) }

func TestSignRefusesAnothersName(t *testing.T) {
	for _, k := range kinds() {
		_, err := k.sign(stranger, k.sample())
		want(t, err, ErrPeer)
	}
}

func TestSignRefusesInvalid(t *testing.T) {
	for _, k := range kinds() {
		record := reflect.New(reflect.TypeOf(k.sample()).Elem()).Interface()
		_, err := k.sign(k.signer, record)
		want(t, err, ErrMalformed)
	}
}

func TestLargestGroup(t *testing.T) {
	group := testGroup()
	group.ID, group.Epoch = 1<<32-1, 1<<64-1
	group.Scheme = erasure.Scheme{Required: 254, RepairBelow: 255, Success: 255, Total: 255}
	group.Issued = time.Unix(maxUnix, 0).UTC()
	group.Nodes = nil
	for i := range 255 {
		group.Nodes = append(group.Nodes, ident.ID{byte(i), 1})
	}
	signed, err := SignGroup(satellite, group)
	if err != nil {
		t.Fatal(err)
	}
	got, err := OpenGroup(signed, satellite.ID())
	if err != nil || !reflect.DeepEqual(got, group) {
		t.Fatalf("got %v, %v", got, err)
	}
	for slot, node := range group.Nodes {
		if i, ok := got.SlotOf(node); !ok || i != slot {
			t.Fatalf("slot of node %d is %d, %v", slot, i, ok)
		}
	}
	if _, ok := got.SlotOf(stranger.ID()); ok {
		t.Fatal("a stranger holds a slot")
	}
}

func TestSegmentID(t *testing.T) {
	id, err := NewSegmentID(strings.NewReader("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseSegmentID(id.String()); err != nil || got != id {
		t.Fatalf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "00", id.String() + "00", id.String()[1:], "x" + id.String()[1:], fmt.Sprintf("%032d", 0)} {
		_, err := ParseSegmentID(bad)
		want(t, err, ErrMalformed)
	}
	if _, err := NewSegmentID(strings.NewReader("short")); err == nil {
		t.Fatal("drew an id from too little")
	}
	if _, err := NewSerial(strings.NewReader("short")); err == nil {
		t.Fatal("drew a serial from too little")
	}
}
