package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/pb"
)

// samples has one message of each control frame.
func samples() []proto.Message {
	signed := &pb.Signed{Body: []byte("body"), Signature: []byte("signature")}
	id := []byte("0123456789abcdef")
	return []proto.Message{
		&pb.Open{Group: signed, Limit: signed},
		&pb.PutBegin{Segment: id, MaxSize: 1 << 20},
		&pb.PutEnd{Size: 1 << 20, Root: make([]byte, 32), ShardRoots: make([]byte, 10*32)},
		&pb.PutCancel{},
		&pb.Get{Segment: id, Offset: 65536, Length: 131072},
		&pb.Prove{Segment: id, First: 16, Count: 16},
		&pb.PutDone{Receipt: signed},
		&pb.Proof{Size: 1 << 20, Path: make([]byte, 96), SlotPath: make([]byte, 128), Length: 65536},
		&pb.Fail{Code: pb.Code_CODE_NOT_FOUND, Message: "not here"},
		&pb.Roots{Segment: id},
		&pb.SegmentRoots{Size: 1 << 20, ShardRoots: make([]byte, 10*32)},
		&pb.Audit{Nonce: id, Issued: 1, Challenges: []*pb.Challenge{{Group: 7, Slot: 2, Seq: 5, Segment: id, Root: make([]byte, 32),
			Required: 4, Total: 10, Size: 1 << 20, Leaf: 63}}},
		&pb.AuditAnswer{Status: pb.AnswerStatus_ANSWER_STATUS_PROVED, Leaf: []byte("leaf"), Path: make([]byte, 64), SlotPath: make([]byte, 32)},
		&pb.AuditDone{Report: signed},
		&pb.Inventory{Group: 7, After: id, Limit: 100},
		&pb.InventoryPage{Shards: []*pb.HeldShard{{Segment: id, Root: make([]byte, 32), Seq: 5, Stored: 1}}, More: true},
	}
}

// header makes the five bytes before a payload.
func header(t Type, length uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{byte(t)}, length)
}

// dataFrame is the caller's buffer for a data frame of size bytes.
func dataFrame(size int, fill byte) []byte {
	buf := make([]byte, HeaderSize+size)
	for i := range size {
		buf[HeaderSize+i] = fill + byte(i%251)
	}
	return buf
}

// stream is every frame there is, with data between them.
func stream(t testing.TB) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := NewWriter(&buf)
	for i, m := range samples() {
		if err := w.WriteControl(typeOf(m), m); err != nil {
			t.Fatal(err)
		}
		if err := w.WriteData(dataFrame(1+i*7, byte(i))); err != nil {
			t.Fatal(err)
		}
	}
	return buf.Bytes()
}

// message returns an empty message for a frame type.
func message(t Type) proto.Message {
	for _, m := range samples() {
		if typeOf(m) == t {
			return m.ProtoReflect().New().Interface()
		}
	}
	return nil
}

// drain reads frames until the end, in data buffers of the given size, and
// returns them written anew.
func drain(src io.Reader, buffer int) ([]byte, error) {
	var out bytes.Buffer
	r, w := NewReader(src), NewWriter(&out)
	for {
		h, err := r.Next()
		if err != nil {
			return out.Bytes(), err
		}
		if h.Type != TypeData {
			m := message(h.Type)
			if err := r.ReadControl(m); err != nil {
				return out.Bytes(), err
			}
			if err := w.WriteControl(h.Type, m); err != nil {
				return out.Bytes(), err
			}
			continue
		}
		buf := make([]byte, HeaderSize+h.Length)
		for at := HeaderSize; r.Remaining() > 0; {
			n, err := r.ReadData(buf[at:min(at+buffer, len(buf))])
			if err != nil {
				return out.Bytes(), err
			}
			at += n
		}
		if err := w.WriteData(buf); err != nil {
			return out.Bytes(), err
		}
	}
}

func TestRoundTrip(t *testing.T) {
	want := stream(t)
	readers := map[string]func(io.Reader) io.Reader{
		"whole":         func(r io.Reader) io.Reader { return r },
		"byte by byte":  iotest.OneByteReader,
		"halves":        iotest.HalfReader,
		"end with data": iotest.DataErrReader,
	}
	for name, wrap := range readers {
		for _, buffer := range []int{1, 3, 1 << 20} {
			got, err := drain(wrap(bytes.NewReader(want)), buffer)
			if err != io.EOF {
				t.Fatalf("%s: %v", name, err)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%s, buffer of %d: frames differ", name, buffer)
			}
		}
	}
}

func TestLargestFrames(t *testing.T) {
	var buf bytes.Buffer
	w, r := NewWriter(&buf), NewReader(&buf)
	fail := &pb.Fail{Message: strings.Repeat("x", MaxControl-4)}
	if n := proto.Size(fail); n != MaxControl {
		t.Fatalf("the sample has %d bytes", n)
	}
	if err := w.WriteControl(TypeFail, fail); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteData(dataFrame(MaxData, 1)); err != nil {
		t.Fatal(err)
	}
	if h, err := r.Next(); err != nil || h != (Header{TypeFail, MaxControl}) {
		t.Fatal(h, err)
	}
	var got pb.Fail
	if err := r.ReadControl(&got); err != nil || got.Message != fail.Message {
		t.Fatal(err)
	}
	if h, err := r.Next(); err != nil || h != (Header{TypeData, MaxData}) {
		t.Fatal(h, err)
	}
	into := make([]byte, MaxData+1)
	if n, err := r.ReadData(into); err != nil || n != MaxData {
		t.Fatal(n, err)
	}
	fail.Message += "x"
	if err := w.WriteControl(TypeFail, fail); !errors.Is(err, ErrFrame) || buf.Len() != 0 {
		t.Fatalf("%v with %d bytes written", err, buf.Len())
	}
}

// TestHostile feeds what no honest party sends.
func TestHostile(t *testing.T) {
	tests := []struct {
		name string
		raw  []byte
		cut  bool
		says string
	}{
		{"type 0", header(0, 0), false, "unknown"},
		{"type between", header(64, 0), false, "unknown"},
		{"where HTTP begins", header('G', 0), false, "unknown"},
		{"type above", header(74, 0), false, "unknown"},
		{"type 255", header(255, 1<<32-1), false, "unknown"},
		{"an HTTP request", []byte("GET / HTTP/1.1\r\n\r\n"), false, "unknown"},
		{"empty data", header(TypeData, 0), false, "empty"},
		{"data too long by one", header(TypeData, MaxData+1), false, "more than"},
		{"data of 4 GiB", header(TypeData, 1<<32-1), false, "more than"},
		{"data of 2 GiB", header(TypeData, 1<<31), false, "more than"},
		{"control too long by one", header(TypeOpen, MaxControl+1), false, "more than"},
		{"control of 4 GiB", header(TypeFail, 1<<32-1), false, "more than"},
		{"header cut", header(TypeOpen, 10)[:4], true, "header is cut off"},
		{"control cut", append(header(TypeOpen, 10), 1, 2, 3), true, "Open is cut off"},
		{"control without payload", header(TypeGet, MaxControl), true, "Get is cut off"},
		{"data cut", append(header(TypeData, 10), 1, 2, 3), true, "Data is cut off"},
		{"data without payload", header(TypeData, MaxData), true, "Data is cut off"},
		{"no protobuf", append(header(TypeGet, 2), 0xff, 0xff), false, "cannot be parsed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := drain(bytes.NewReader(test.raw), 1<<20)
			if !errors.Is(err, ErrFrame) || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("got %v, want a bad frame that is %q", err, test.says)
			}
			if errors.Is(err, io.ErrUnexpectedEOF) != test.cut {
				t.Fatalf("got %v, cut off: %v", err, test.cut)
			}
			if errors.Is(err, io.EOF) {
				t.Fatal("a bad frame passes for the end")
			}
		})
	}
}

func TestCutAnywhere(t *testing.T) {
	whole := stream(t)
	ends := map[int]bool{0: true}
	for at := 0; at < len(whole); {
		at += HeaderSize + int(binary.BigEndian.Uint32(whole[at+1:]))
		ends[at] = true
	}
	for length := range len(whole) {
		if length > 400 && length < len(whole)-800 && !ends[length] && length%17 != 0 {
			continue
		}
		_, err := drain(bytes.NewReader(whole[:length]), 1<<20)
		switch {
		case ends[length] && err != io.EOF:
			t.Fatalf("cut between frames at %d: %v", length, err)
		case !ends[length] && (!errors.Is(err, ErrFrame) || !errors.Is(err, io.ErrUnexpectedEOF)):
			t.Fatalf("cut inside a frame at %d: %v", length, err)
		}
	}
}

func TestStreamErrorsAreKept(t *testing.T) {
	broken := errors.New("stream was reset")
	for _, have := range [][]byte{nil, header(TypeOpen, 9), header(TypeData, 9), header(TypeData, 9)[:2]} {
		src := io.MultiReader(bytes.NewReader(have), iotest.ErrReader(broken))
		_, err := drain(src, 100)
		if !errors.Is(err, broken) || errors.Is(err, ErrFrame) {
			t.Fatalf("after %d bytes: %v", len(have), err)
		}
	}
	w := NewWriter(brokenWriter{broken})
	if err := w.WriteControl(TypePutCancel, &pb.PutCancel{}); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if err := w.WriteData(dataFrame(1, 0)); !errors.Is(err, broken) {
		t.Fatal(err)
	}
}

type brokenWriter struct{ err error }

func (b brokenWriter) Write([]byte) (int, error) { return 0, b.err }

// TestReadsNothingAhead makes sure that what follows a frame stays in the
// stream.
func TestReadsNothingAhead(t *testing.T) {
	raw := stream(t)
	src := bytes.NewReader(raw)
	r := NewReader(src)
	for at := 0; at < len(raw); {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		at += HeaderSize
		if read := len(raw) - src.Len(); read != at {
			t.Fatalf("%d bytes read for a header that ends at %d", read, at)
		}
		at += h.Length
		if h.Type == TypeData {
			_, err = r.ReadData(make([]byte, 1<<20))
		} else {
			err = r.ReadControl(message(h.Type))
		}
		if err != nil {
			t.Fatal(err)
		}
		if read := len(raw) - src.Len(); read != at {
			t.Fatalf("%d bytes read for a frame that ends at %d", read, at)
		}
	}
}

// counter counts the Writes that arrive.
type counter struct {
	bytes.Buffer
	writes int
}

func (c *counter) Write(p []byte) (int, error) {
	c.writes++
	return c.Buffer.Write(p)
}

func TestWritesAreFew(t *testing.T) {
	var c counter
	w := NewWriter(&c)
	step := func(want int, err error) {
		t.Helper()
		if err != nil || c.writes != want {
			t.Fatalf("%d writes, want %d (%v)", c.writes, want, err)
		}
	}
	step(0, w.Queue(TypeOpen, &pb.Open{}))
	step(0, w.Queue(TypeGet, &pb.Get{}))
	step(1, w.WriteControl(TypeGet, &pb.Get{}))
	step(2, w.WriteData(dataFrame(MaxData, 0)))
	step(2, w.Queue(TypePutEnd, &pb.PutEnd{}))
	step(4, w.WriteData(dataFrame(1, 0)))
	step(4, w.Flush())
	step(4, w.Queue(TypePutBegin, &pb.PutBegin{}))
	step(4, w.QueueData(dataFrame(1000, 7)))
	step(5, w.WriteControl(TypePutEnd, &pb.PutEnd{}))
	step(6, w.QueueData(dataFrame(MaxControl, 7))) // too much to wait
	step(7, w.WriteControl(TypePutEnd, &pb.PutEnd{}))
	for range 3 {
		if err := w.Queue(TypeFail, &pb.Fail{Message: strings.Repeat("x", MaxControl/2)}); err != nil {
			t.Fatal(err)
		}
	}
	step(8, nil)
	step(9, w.Flush())
	if _, err := drain(&c.Buffer, 1<<20); err != io.EOF {
		t.Fatal(err)
	}
}

func TestCallerBugsPanic(t *testing.T) {
	at := func(t Type, payload ...byte) *Reader {
		r := NewReader(bytes.NewReader(append(header(t, uint32(len(payload))), payload...)))
		r.Next()
		return r
	}
	w := NewWriter(io.Discard)
	bugs := map[string]func(){
		"data as control":       func() { at(TypeData, 1).ReadControl(&pb.Get{}) },
		"control as data":       func() { at(TypeGet, 1).ReadData(make([]byte, 9)) },
		"another message":       func() { at(TypeGet, 1).ReadControl(&pb.Prove{}) },
		"no control message":    func() { at(TypeGet, 1).ReadControl(&pb.Object{}) },
		"data after an error":   func() { at(TypeData).ReadData(make([]byte, 9)) },
		"write empty data":      func() { w.WriteData(make([]byte, HeaderSize)) },
		"write nothing":         func() { w.WriteData(nil) },
		"queue empty data":      func() { w.QueueData(make([]byte, HeaderSize)) },
		"write too much data":   func() { w.WriteData(make([]byte, HeaderSize+MaxData+1)) },
		"write another message": func() { w.WriteControl(TypeGet, &pb.Prove{}) },
		"write no message":      func() { w.WriteControl(0, &pb.Object{}) },
	}
	for name, bug := range bugs {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Fatal("no panic")
				}
			}()
			bug()
		})
	}
}

func TestTypesHaveNames(t *testing.T) {
	for _, m := range samples() {
		name := string(m.ProtoReflect().Descriptor().Name())
		if got := typeOf(m).String(); got != name {
			t.Errorf("%s is called %s", name, got)
		}
	}
	if got := fmt.Sprint(TypeData, Type(200)); got != "Data type 200" {
		t.Error(got)
	}
	err := Unexpected(Header{Type: TypeData}, "before PutBegin")
	if !errors.Is(err, ErrFrame) || err.Error() != "bad frame: Data before PutBegin" {
		t.Error(err)
	}
}

// TestNoFrameAfterAnError goes on reading where no frame can be found.
func TestNoFrameAfterAnError(t *testing.T) {
	good := append(header(TypePutCancel, 0), header(TypePutCancel, 0)...)
	tests := []struct {
		name string
		raw  []byte
		read func(*Reader) error
	}{
		{"bad type", header(99, 0), func(r *Reader) error { _, err := r.Next(); return err }},
		{"no such message", append(header(TypeGet, 2), 0xff, 0xff), func(r *Reader) error {
			r.Next()
			return r.ReadControl(&pb.Get{})
		}},
		{"frame out of place", append(header(TypeGet, 2), 0x08, 1), func(r *Reader) error {
			h, _ := r.Next()
			return Unexpected(h, "before Open")
		}},
		{"too much data", append(header(TypeData, 2), 1, 2), func(r *Reader) error {
			r.Next()
			_, err := r.ReadData(make([]byte, 1))
			return errors.Join(err, ErrFrame)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := NewReader(bytes.NewReader(append(test.raw, good...)))
			if err := test.read(r); !errors.Is(err, ErrFrame) {
				t.Fatal(err)
			}
			for range 2 {
				if h, err := r.Next(); !errors.Is(err, ErrFrame) || h != (Header{}) {
					t.Fatalf("found %v, %v", h, err)
				}
			}
		})
	}
}

// TestDataPathAllocatesNothing also shows that no frame makes the reader set
// aside more than its bounds.
func TestDataPathAllocatesNothing(t *testing.T) {
	var loop bytes.Buffer
	loop.Grow(1 << 20)
	w, r := NewWriter(&loop), NewReader(&loop)
	frame, into := dataFrame(64<<10, 1), make([]byte, 64<<10)
	allocs := testing.AllocsPerRun(100, func() {
		if err := w.WriteData(frame); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.ReadData(into); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Fatalf("%v allocations per data frame", allocs)
	}
	for _, raw := range [][]byte{header(TypeData, 1<<32-1), header(TypeOpen, 1<<32-1), header(TypeOpen, MaxControl)} {
		r := NewReader(bytes.NewReader(raw))
		if _, err := r.Next(); err == nil {
			r.ReadControl(&pb.Open{})
		}
		if cap(r.raw) > MaxControl+MaxControl/4 {
			t.Fatalf("%d bytes set aside for %x", cap(r.raw), raw)
		}
	}
}
