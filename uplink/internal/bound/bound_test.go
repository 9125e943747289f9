package bound

import (
	"bufio"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
)

func TestMeasure(t *testing.T) {
	scheme := erasure.Scheme{Required: 2, RepairBelow: 3, Success: 3, Total: 4}
	rates, err := Measure(scheme, 2, 20*time.Millisecond, spawn)
	if err != nil {
		t.Fatal(err)
	}
	if rates.Encode <= 0 || rates.Decode <= 0 || rates.Send <= 0 || rates.Fetch <= 0 {
		t.Fatalf("rates %+v", rates)
	}
	if up := rates.Upload(scheme); up <= 0 || up >= rates.Encode || up >= rates.Send {
		t.Errorf("upload %g is not below its parts %+v", up, rates)
	}
	if down := rates.Download(); down <= 0 || down >= rates.Decode || down >= rates.Fetch {
		t.Errorf("download %g is not below its parts %+v", down, rates)
	}
}

// spawn serves from within the test.
func spawn() (string, func(), error) {
	in, end := io.Pipe()
	out, said := io.Pipe()
	go Serve(in, said)
	address, err := bufio.NewReader(out).ReadString('\n')
	return strings.TrimSpace(address), func() { end.Close() }, err
}

func BenchmarkEncode(b *testing.B) { benchmark(b, (*stripe).encode) }
func BenchmarkDecode(b *testing.B) { benchmark(b, (*stripe).decode) }

func benchmark(b *testing.B, work func(*stripe) error) {
	for _, s := range []string{"4/6/8/10", "10/14/16/20", "20/28/32/40"} {
		b.Run(s, func(b *testing.B) {
			scheme, err := erasure.ParseScheme(s)
			if err != nil {
				b.Fatal(err)
			}
			coder, err := erasure.NewCoder(scheme.Required, scheme.Total)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(newStripe(coder).plain)))
			b.RunParallel(func(pb *testing.PB) {
				stripe := newStripe(coder)
				if err := stripe.encode(); err != nil {
					b.Error(err)
				}
				for pb.Next() {
					if err := work(stripe); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
