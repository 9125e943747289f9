package order

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/cairnstorage/cairn/proto/pb"
)

var update = flag.Bool("update", false, "write golden files anew")

const goldenFile = "../testdata/order.json"

// vector is one signed record in hexadecimal. Signatures of Ed25519 are
// deterministic, so another implementation must make the same bytes.
type vector struct {
	Kind      string `json:"kind"`
	Seed      string `json:"seed"`   // of the signer
	Signer    string `json:"signer"` // peer id
	Record    string `json:"record"` // for the reader
	Context   string `json:"context"`
	Body      string `json:"body"`
	Signature string `json:"signature"`
}

func TestGolden(t *testing.T) {
	var now []vector
	for _, k := range kinds() {
		signed := mustSign(t, k)
		now = append(now, vector{
			Kind:      k.name,
			Seed:      hex.EncodeToString(k.signer.Ed25519().Seed()),
			Signer:    k.signer.ID().String(),
			Record:    strings.TrimPrefix(fmt.Sprintf("%+v", k.sample()), "&"),
			Context:   "cairn/v1/" + k.name,
			Body:      hex.EncodeToString(signed.Body),
			Signature: hex.EncodeToString(signed.Signature),
		})
	}
	if *update {
		text, err := json.MarshalIndent(now, "", "  ")
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
	var golden []vector
	if err := json.Unmarshal(text, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden) != len(now) {
		t.Fatalf("%d vectors, want %d", len(golden), len(now))
	}
	for i, k := range kinds() {
		if golden[i].Body != now[i].Body || golden[i].Signature != now[i].Signature {
			t.Errorf("%s is signed differently now", k.name)
		}
		body, _ := hex.DecodeString(golden[i].Body)
		signature, _ := hex.DecodeString(golden[i].Signature)
		signer := k.signer.ID()
		if !ed25519.Verify(signer[:], []byte(golden[i].Context+"\x00"+string(body)), signature) {
			t.Errorf("%s: the signature is not over context, 0x00, body", k.name)
		}
		got, err := k.open(&pb.Signed{Body: body, Signature: signature}, k.signer.ID())
		if err != nil || !reflect.DeepEqual(got, k.sample()) {
			t.Errorf("%s opens as %+v, %v", k.name, got, err)
		}
	}
}
