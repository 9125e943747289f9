package grant

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/mr-tron/base58"
	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/pb"
)

func sample() Grant {
	var seed, root [32]byte
	for i := range root {
		seed[i], root[i] = 1, byte(i)
	}
	return Grant{
		Satellite: "/ip4/192.0.2.7/tcp/7700/p2p/" + ident.FromSeed(seed).ID().String(),
		APIKey:    bytes.Repeat([]byte{0xab}, 90),
		RootKey:   root,
	}
}

// encode writes any body as the text of a grant.
func encode(body []byte) string {
	return prefix + base58.Encode(append(bytes.Clone(body), checksum(body)...))
}

// changed is the text of the sample after a change that String would refuse.
func changed(t testing.TB, change func(*pb.Grant)) string {
	t.Helper()
	g := sample()
	m := &pb.Grant{Version: version, Satellite: g.Satellite, ApiKey: g.APIKey, RootKey: g.RootKey[:]}
	change(m)
	body, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return encode(body)
}

func TestRoundTrip(t *testing.T) {
	want := sample()
	text := want.String()
	for name, typed := range map[string]string{
		"as written":  text,
		"with spaces": "  " + text + "\r\n",
		"wrapped":     text[:60] + "\n    " + text[60:],
	} {
		got, err := Parse(typed)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	if strings.ContainsAny(text, " \n+/=-_") {
		t.Errorf("%s does not select with a double click", text)
	}
}

func TestParseSays(t *testing.T) {
	text := sample().String()
	swapped := []byte(text)
	swapped[20], swapped[21] = swapped[21]^1, swapped[20]
	tests := []struct {
		name string
		text string
		want error
	}{
		{"nothing", "", ErrNotGrant},
		{"blank", " \n\t", ErrNotGrant},
		{"a URL", "cairn://bucket/key", ErrNotGrant},
		{"the name alone", "cairn", ErrNotGrant},
		{"version 0", "cairn0" + text[6:], ErrNotGrant},
		{"a multiaddr", sample().Satellite, ErrNotGrant},
		{"without its beginning", text[1:], ErrNotGrant},
		{"a file", strings.Repeat("x", 1<<20), ErrNotGrant},
		{"a grant and much more", text + strings.Repeat("x", MaxText), ErrNotGrant},
		{"the prefix alone", prefix, ErrDamaged},
		{"cut by one", text[:len(text)-1], ErrDamaged},
		{"cut in half", text[:len(text)/2], ErrDamaged},
		{"the end missing", text[:8], ErrDamaged},
		{"one too many", text + "1", ErrDamaged},
		{"twice", text + text, ErrDamaged},
		{"mistyped", string(swapped), ErrDamaged},
		{"no base58", text[:30] + "0" + text[31:], ErrDamaged},
		{"not ASCII", text[:30] + "\u00e9" + text[31:], ErrDamaged},
		{"a quote around it", text + `"`, ErrDamaged},
		{"upper case", strings.ToUpper(text), ErrDamaged},
		{"no protobuf", encode([]byte{0xff, 0xff}), ErrDamaged},
		{"newer prefix", "cairn2" + text[6:], ErrNewer},
		{"newer body", changed(t, func(m *pb.Grant) { m.Version = 2 }), ErrNewer},
		{"newer field", encode(append(mustBody(t), 0xa0, 0x06, 1)), ErrNewer},
		{"no version", changed(t, func(m *pb.Grant) { m.Version = 0 }), ErrIncomplete},
		{"no satellite", changed(t, func(m *pb.Grant) { m.Satellite = "" }), ErrNoSatellite},
		{"satellite without id", changed(t, func(m *pb.Grant) { m.Satellite = "/ip4/192.0.2.7/tcp/7700" }), ErrNoSatellite},
		{"satellite with half an id", changed(t, func(m *pb.Grant) { m.Satellite = m.Satellite[:len(m.Satellite)-3] }), ErrNoSatellite},
		{"satellite as host and port", changed(t, func(m *pb.Grant) { m.Satellite = "192.0.2.7:7700" }), ErrNoSatellite},
		{"no API key", changed(t, func(m *pb.Grant) { m.ApiKey = nil }), ErrIncomplete},
		{"no root key", changed(t, func(m *pb.Grant) { m.RootKey = nil }), ErrIncomplete},
		{"root key cut", changed(t, func(m *pb.Grant) { m.RootKey = m.RootKey[:31] }), ErrIncomplete},
		{"root key long", changed(t, func(m *pb.Grant) { m.RootKey = append(m.RootKey, 1) }), ErrIncomplete},
		{"root key of zeros", changed(t, func(m *pb.Grant) { m.RootKey = make([]byte, 32) }), ErrIncomplete},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g, err := Parse(test.text)
			if !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if !reflect.DeepEqual(g, Grant{}) {
				t.Fatal("a refused grant is not empty")
			}
			if len(err.Error()) > 300 || strings.Contains(err.Error(), text[10:40]) {
				t.Fatalf("the error repeats the secret: %v", err)
			}
		})
	}
}

func mustBody(t testing.TB) []byte {
	t.Helper()
	body, err := decode(sample().String())
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(body)
}

// TestEveryCharacterCounts changes each character to another of base58.
func TestEveryCharacterCounts(t *testing.T) {
	text := sample().String()
	for i := len(prefix); i < len(text); i++ {
		for _, other := range []byte{'1', '2', 'z'} {
			if text[i] == other {
				continue
			}
			typo := text[:i] + string(other) + text[i+1:]
			if _, err := Parse(typo); !errors.Is(err, ErrDamaged) {
				t.Fatalf("character %d changed to %c: %v", i, other, err)
			}
		}
		if _, err := Parse(text[:i]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut after %d: %v", i, err)
		}
	}
}

func TestLongest(t *testing.T) {
	g := sample()
	g.APIKey = make([]byte, maxBody-64-len(g.Satellite))
	text := g.String()
	if len(text) > MaxText {
		t.Fatalf("%d characters", len(text))
	}
	if got, err := Parse(text); err != nil || !reflect.DeepEqual(got, g) {
		t.Fatal(err)
	}
	g.APIKey = append(g.APIKey, 0)
	if err := g.Validate(); !errors.Is(err, ErrIncomplete) {
		t.Fatal(err)
	}
}

func TestStringPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("an empty grant has a text")
		}
	}()
	_ = Grant{}.String()
}

var update = flag.Bool("update", false, "write golden files anew")

const goldenFile = "../testdata/grant.json"

type vectors struct {
	Text      string `json:"text"`
	Body      string `json:"body"`
	Satellite string `json:"satellite"`
	APIKey    string `json:"api_key"`
	RootKey   string `json:"root_key"`

	Derivations []derivation `json:"derivations"`
}

type derivation struct {
	Passphrase string `json:"passphrase"`
	Salt       string `json:"salt"`
	RootKey    string `json:"root_key"`
	KeyCheck   string `json:"key_check"`
}

func now(t *testing.T) vectors {
	g := sample()
	v := vectors{
		Text:      g.String(),
		Body:      hex.EncodeToString(mustBody(t)),
		Satellite: g.Satellite,
		APIKey:    hex.EncodeToString(g.APIKey),
		RootKey:   hex.EncodeToString(g.RootKey[:]),
	}
	for _, passphrase := range []string{"", "correct horse battery staple", "stra\u00dfe \u77f3"} {
		salt := []byte("sixteen bytes ok")
		root := RootKey([]byte(passphrase), salt)
		check := KeyCheck(root)
		v.Derivations = append(v.Derivations, derivation{passphrase, hex.EncodeToString(salt),
			hex.EncodeToString(root[:]), hex.EncodeToString(check[:])})
	}
	return v
}

func TestGolden(t *testing.T) {
	got := now(t)
	if *update {
		text, err := json.MarshalIndent(got, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(goldenFile, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	var golden vectors
	if err := json.Unmarshal(text, &golden); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, golden) {
		t.Errorf("got %+v, want %+v", got, golden)
	}
	if g, err := Parse(golden.Text); err != nil || !reflect.DeepEqual(g, sample()) {
		t.Errorf("the golden text parses as %+v, %v", g, err)
	}
}

func TestRootKeyDepends(t *testing.T) {
	salt := make([]byte, SaltSize)
	one := RootKey([]byte("a"), salt)
	if one == RootKey([]byte("b"), salt) || KeyCheck(one) == KeyCheck([32]byte{}) {
		t.Fatal("two passphrases have one key")
	}
	salt[15]++
	if one == RootKey([]byte("a"), salt) {
		t.Fatal("two salts have one key")
	}
	defer func() {
		if recover() == nil {
			t.Fatal("a salt of 15 bytes passed")
		}
	}()
	RootKey(nil, salt[1:])
}

// FuzzParse takes any text, and any body in the right wrapping. What is
// accepted has a text that parses to the same grant.
func FuzzParse(f *testing.F) {
	f.Add(sample().String(), mustBody(f))
	f.Add("cairn1", []byte{})
	f.Add("cairn2abc", []byte{8, 2})
	f.Fuzz(func(t *testing.T, text string, body []byte) {
		for _, one := range []string{text, prefix + text, encode(body[:min(len(body), maxBody+1)])} {
			g, err := Parse(one)
			if err != nil {
				if !isOneOf(err, ErrNotGrant, ErrDamaged, ErrNewer, ErrNoSatellite, ErrIncomplete) {
					t.Fatalf("unforeseen error %v", err)
				}
				continue
			}
			if again, err := Parse(g.String()); err != nil || !reflect.DeepEqual(again, g) {
				t.Fatalf("%+v became %+v, %v", g, again, err)
			}
		}
	})
}

func isOneOf(err error, known ...error) bool {
	for _, one := range known {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

func BenchmarkRootKey(b *testing.B) {
	for b.Loop() {
		RootKey([]byte("passphrase"), make([]byte, SaltSize))
	}
}
