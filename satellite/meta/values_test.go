package meta

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/merkle"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/seqset"
	"github.com/cairnstorage/cairn/satellite/audit"
)

var update = flag.Bool("update", false, "write testdata/values.txt anew: stores in use become unreadable")

// value is a kind of value: a sample, and how it is read and written again.
type value struct {
	name   string
	sample []byte
	again  func([]byte) ([]byte, error)
}

func again[T interface{ encode() []byte }](decode func([]byte) (T, error)) func([]byte) ([]byte, error) {
	return func(v []byte) ([]byte, error) {
		x, err := decode(v)
		if err != nil {
			return nil, err
		}
		return x.encode(), nil
	}
}

// pointer makes a decoder of values one of pointers, which can encode.
func pointer[T any](decode func([]byte) (T, error)) func([]byte) (*T, error) {
	return func(v []byte) (*T, error) {
		x, err := decode(v)
		return &x, err
	}
}

func values() []value {
	when := time.Date(2026, 11, 22, 12, 30, 0, 123456000, time.UTC)
	id := order.SegmentID{0: 0xaa, 15: 0xbb}
	root := merkle.Hash{0: 1, 31: 2}
	extents := []Extent{{Segment: id, Length: 100}, {Segment: order.SegmentID{1}, Offset: 1 << 20, Length: 1 << 26}}
	project := Project{Number: 3, Name: "demo", Created: when, Secret: [32]byte{5}, Salt: [16]byte{6}, KeyCheck: [16]byte{7}}
	node := Node{
		Addresses: []string{"/ip4/192.0.2.1/tcp/7000", "/dns4/example.org/tcp/7000"},
		Capacity:  1 << 40, Used: 1 << 30, Free: 1 << 39, Version: "v1", Operator: "me",
		FirstSeen: when, LastSeen: when.Add(time.Hour), Remote: netip.MustParseAddr("192.0.2.1"),
	}
	standing := Standing{
		Standing: audit.Standing{
			State: audit.Online, Reason: "vetted", Since: when, Score: audit.Score{LLR: -1.5, Proved: 200, Missing: 1, Wrong: 2},
			Presence: audit.Presence{Time: audit.Share{Kept: 0.25, Due: 0.5, At: when}, Answers: audit.Share{Kept: 10, Due: 11, At: when}},
		},
		Owed: when, Exit: Exit{Asked: when, Slots: 4, Departure: &pb.Signed{Body: []byte("body"), Signature: bytes.Repeat([]byte{3}, 64)}},
	}
	silent := Standing{Standing: audit.Standing{State: audit.Suspended, Silences: audit.Silences{Count: 3, Last: when, Open: true}}}
	return []value{
		{"project", project.encode(), again(pointer(func(v []byte) (Project, error) { return decodeProject(ProjectID{}, v) }))},
		{"bucket", (&bucketRecord{number: 7, created: when, usage: Usage{300, 1 << 40}}).encode(), again(pointer(decodeBucket))},
		{"object with extents", (&content{size: 1 << 26, sealed: []byte("sealed"), extents: extents}).encode(), again(pointer(decodeContent))},
		{"object with list", (&content{size: 1 << 40, form: formList, list: UploadID{9}, count: 16384}).encode(), again(pointer(decodeContent))},
		{"inline object", (&content{size: 5, sealed: []byte("sealed"), form: formInline, inline: []byte("ciphertext")}).encode(), again(pointer(decodeContent))},
		{"empty object", (&content{}).encode(), again(pointer(decodeContent))},
		{"list", (&list{refs: 2}).encode(), again(pointer(decodeList))},
		{"page", (&page{first: 16, extents: extents}).encode(), again(pointer(decodePage))},
		{"upload", (&upload{bucket: bucketRef{3, 7}, key: key("a", "b"), expires: when, count: 24, size: 1 << 30}).encode(), again(pointer(decodeUpload))},
		{"upload being aborted", (&upload{bucket: bucketRef{3, 7}, key: key("a"), aborting: true}).encode(), again(pointer(decodeUpload))},
		{"nonce", (&nonceRecord{digest: [16]byte{1}, version: 1 << 60, size: 100, segments: 2}).encode(), again(pointer(decodeNonce))},
		{"nonce of several objects", (&manyRecord{digest: [16]byte{1}, outcomes: []Outcome{{Object: Object{Version: 1 << 60}}, {Err: ErrChanged}, {Err: ErrTooMuch}}}).encode(), again(pointer(decodeMany))},
		{"segment", (&segment{group: 4, seq: 1 << 20, project: 3, refs: 1}).encode(), again(pointer(decodeSegment))},
		{"head", (&head{epoch: 2, Journal: Journal{Head: 1000, Segments: 900, Bytes: 1 << 36}}).encode(), again(pointer(decodeHead))},
		{"head of a trimmed journal", (&head{epoch: 2, Journal: Journal{Head: 1000, Segments: 900, Bytes: 1 << 36, Base: 600}}).encode(), again(pointer(decodeHead))},
		{"moments", (moments{{when, 1000}, {when.Add(time.Hour), 1200}}).encode(), again(decodeMoments)},
		{"live entry", (&Entry{Kind: pb.EntryKind_ENTRY_KIND_LIVE, Segment: id, Root: root, Size: 1 << 26, Held: []byte{0xff, 3}}).encode(), again(pointer(func(v []byte) (Entry, error) { return decodeEntry(1, v) }))},
		{"tombstone", (&Entry{Kind: pb.EntryKind_ENTRY_KIND_TOMBSTONE, Segment: id}).encode(), again(pointer(func(v []byte) (Entry, error) { return decodeEntry(1, v) }))},
		{"group record", encodeSigned(&pb.Signed{Body: []byte("body"), Signature: bytes.Repeat([]byte{3}, 64)}), func(v []byte) ([]byte, error) {
			s, err := decodeSigned(v)
			return encodeSigned(s), err
		}},
		{"node", node.encode(), again(pointer(func(v []byte) (Node, error) { return decodeNode(ident.ID{1}, v) }))},
		{"standing", standing.encode(), again(pointer(func(v []byte) (Standing, error) { return decodeStanding(ident.ID{1}, v) }))},
		{"standing of a silent node", silent.encode(), again(pointer(func(v []byte) (Standing, error) { return decodeStanding(ident.ID{1}, v) }))},
		{"claim", (&Claim{
			Signed: &pb.Signed{Body: []byte("body"), Signature: bytes.Repeat([]byte{3}, 64)},
			Lost:   seqset.Set{{First: 3, Last: 4}, {First: 100, Last: 300}}, LostAt: when,
		}).encode(), again(pointer(func(v []byte) (Claim, error) { return decodeClaim(ClaimKey{}, v) }))},
		{"report", (&Report{Segment: id, At: when}).encode(), again(pointer(func(v []byte) (Report, error) {
			return decodeReport((&Report{Group: 1, Seq: 2, Node: ident.ID{3}}).key(), v)
		}))},
		{"slot", (&Seat{Given: 1 << 20, Since: when, From: ident.ID{5, 31: 6}, Successor: ident.ID{1, 31: 2}, Named: when.Add(time.Hour)}).encode(), again(pointer(func(v []byte) (Seat, error) { return decodeSeat(1, 2, v) }))},
		{"trouble", (&Trouble{Text: "lost", Since: when, Heads: map[uint32]uint64{3: 1, 1: 1 << 40}}).encode(), again(pointer(decodeTrouble))},
	}
}

// TestGolden pins the bytes of every kind of value: stores are read by later
// releases.
func TestGolden(t *testing.T) {
	path := filepath.Join("testdata", "values.txt")
	var text strings.Builder
	for _, v := range values() {
		fmt.Fprintf(&text, "%s: %x\n", v.name, v.sample)
	}
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	pinned, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(pinned) {
		t.Errorf("values are written differently from %s:\n%s", path, text.String())
	}
	kinds := values()
	for i, line := range strings.Split(strings.TrimSpace(string(pinned)), "\n") {
		_, digits, _ := strings.Cut(line, ": ")
		raw, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := kinds[i].again(raw); err != nil || !bytes.Equal(back, raw) {
			t.Errorf("%s: read and written again: %x, %v", kinds[i].name, back, err)
		}
	}
}

// TestCutValues cuts every sample at every byte: nothing may pass for whole
// that is read differently.
func TestCutValues(t *testing.T) {
	for _, v := range values() {
		for n := range v.sample {
			back, err := v.again(v.sample[:n])
			if err != nil && !errors.Is(err, ErrDamaged) {
				t.Fatalf("%s cut at %d: %v", v.name, n, err)
			}
			if err == nil && !bytes.Equal(back, v.sample[:n]) {
				t.Errorf("%s cut at %d is read as something else", v.name, n)
			}
		}
		if v.name == "live entry" || v.name == "group record" {
			continue // end in a field that takes the rest
		}
		if _, err := v.again(append(bytes.Clone(v.sample), 0)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s with a byte too many: %v", v.name, err)
		}
	}
}

// FuzzValues checks that what can be read at all is written the same again.
func FuzzValues(f *testing.F) {
	kinds := values()
	for i, v := range kinds {
		f.Add(uint8(i), v.sample)
	}
	f.Fuzz(func(t *testing.T, kind uint8, raw []byte) {
		v := kinds[int(kind)%len(kinds)]
		back, err := v.again(raw)
		if err == nil && !bytes.Equal(back, raw) {
			t.Errorf("%s %x is written again as %x", v.name, raw, back)
		}
	})
}

func FuzzComponents(f *testing.F) {
	f.Add(key("a", "b"))
	f.Add(key(strings.Repeat("x", 200)))
	f.Add([]byte{0x80, 0x00})
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, k []byte) {
		if checkKey(k) != nil {
			return
		}
		var parts []string
		for rest := k; len(rest) > 0; {
			end, err := componentEnd(rest)
			if err != nil {
				t.Fatal(err)
			}
			skip := 1
			if end > 128 {
				skip = 2
			}
			parts = append(parts, string(rest[skip:end]))
			rest = rest[end:]
		}
		if again := key(parts...); !bytes.Equal(again, k) {
			t.Errorf("key %x of components %q is written again as %x", k, parts, again)
		}
		raw := versionKey(bucketRef{1, 2}, k, 77)
		back, v, err := parseVersionKey(raw)
		if err != nil || v != 77 || !bytes.Equal(back, k) {
			t.Errorf("key %x came back as %x, version %d, %v", k, back, v, err)
		}
	})
}

// TestOneSegmentObjectIsSmall holds the promise of about 300 bytes for an
// object of one segment with a name of 24 letters.
func TestOneSegmentObjectIsSmall(t *testing.T) {
	r := memRig(t)
	before := r.stored()
	segments, extents := r.segments(1, 1)
	segments[0].Size, extents[0].Length = 1<<26, 1<<26-16<<10
	_, err := r.Commit(r.ctx, CommitRequest{
		Project: r.project, Bucket: "bucket",
		Key:      key(strings.Repeat("k", 24+16)),
		Segments: segments, Extents: extents, Size: extents[0].Length,
		SealedMetadata: make([]byte, 12+16+34+5+7),
	})
	r.must(err)
	if size := r.stored() - before; size > 300 {
		t.Errorf("an object of one segment takes %d bytes", size)
	} else {
		t.Logf("an object of one segment takes %d bytes", size)
	}
}

func TestVersions(t *testing.T) {
	v := Version(uint64(time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC).UnixMicro())<<versionRandomBits | 99)
	if got := v.Created(); !got.Equal(time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)) {
		t.Errorf("created %v", got)
	}
	if back, err := ParseVersion(v.Bytes()); err != nil || back != v {
		t.Errorf("version %d came back as %d, %v", v, back, err)
	}
	if none, err := ParseVersion(nil); err != nil || none != 0 {
		t.Errorf("no version is %d, %v", none, err)
	}
	if _, err := ParseVersion([]byte{1}); !errors.Is(err, ErrInvalid) {
		t.Errorf("short version: %v", err)
	}
	u, err := ParseUploadID(bytes.Repeat([]byte{4}, 16))
	if err != nil || u != (UploadID(bytes.Repeat([]byte{4}, 16))) {
		t.Errorf("upload id: %v, %v", u, err)
	}
	if _, err := ParseUploadID([]byte{1}); !errors.Is(err, ErrInvalid) {
		t.Errorf("short upload id: %v", err)
	}
	if none, err := ParseUploadID(nil); err != nil || !reflect.ValueOf(none).IsZero() {
		t.Errorf("no upload id: %v, %v", none, err)
	}
}
