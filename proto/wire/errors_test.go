package wire

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
)

func TestEveryCodeHasAnError(t *testing.T) {
	for number, name := range pb.Code_name {
		code := pb.Code(number)
		if code == pb.Code_CODE_UNSPECIFIED {
			continue
		}
		err := FromFail(&pb.Fail{Code: code, Message: "because"})
		var told *Error
		if !errors.As(err, &told) || told.Code != code {
			t.Errorf("%s becomes %v", name, err)
		}
		sentinel := told.Unwrap()
		if got := ToFail(fmt.Errorf("at work: %w", sentinel)).Code; got != code {
			t.Errorf("%v becomes %s, not %s", sentinel, got, name)
		}
		if err.Error() != sentinel.Error()+": because" {
			t.Errorf("%s says %q", name, err)
		}
	}
}

func TestToFail(t *testing.T) {
	limit := order.Limit{Action: order.ActionPut}
	refusal := limit.Check(order.Use{Action: order.ActionGet})
	tests := []struct {
		name    string
		err     error
		code    pb.Code
		message string
	}{
		{"unknown", errors.New("secret"), pb.Code_CODE_INTERNAL, ""},
		{"nil", nil, pb.Code_CODE_INTERNAL, ""},
		{"a path", &fs.PathError{Op: "open", Path: "/secret", Err: fs.ErrNotExist}, pb.Code_CODE_INTERNAL, ""},
		{"known with private text", fmt.Errorf("/secret: %w", ErrFull), pb.Code_CODE_FULL, ""},
		{"known beside an unknown one", errors.Join(errors.New("secret"), ErrCorrupt), pb.Code_CODE_CORRUPT, ""},
		{"refusal", fmt.Errorf("secret: %w", refusal), pb.Code_CODE_DENIED, refusal.Error()},
		{"bare refusal reason", order.ErrSignature, pb.Code_CODE_DENIED, ""},
		{"expired", &order.Refusal{Reason: order.ErrExpired, Detail: "long ago"}, pb.Code_CODE_EXPIRED, "record is outside its time: long ago"},
		{"frame", fmt.Errorf("secret: %w", badFrame("Data is empty")), pb.Code_CODE_BAD_REQUEST, "Data is empty"},
		{"told", fmt.Errorf("secret: %w", Errorf(pb.Code_CODE_BUSY, "come back at %d", 7)), pb.Code_CODE_BUSY, "come back at 7"},
		{"unknown code", &Error{Code: 999, Message: "x"}, pb.Code_CODE_INTERNAL, "x"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := ToFail(test.err)
			if got.Code != test.code || got.Message != test.message {
				t.Fatalf("got %s %q, want %s %q", got.Code, got.Message, test.code, test.message)
			}
		})
	}
}

func TestErrorsMeanTheSameOnBothSides(t *testing.T) {
	for _, err := range []error{ErrInternal, ErrRequest, ErrDenied, ErrNotFound, ErrFull, ErrMismatch, ErrBusy,
		ErrCorrupt, order.ErrExpired, order.ErrAmount, order.ErrEpoch} {
		if got := FromFail(ToFail(err)); !errors.Is(got, err) {
			t.Errorf("%v arrives as %v", err, got)
		}
	}
	for _, fail := range []*pb.Fail{nil, {}, {Code: 999}, {Code: -1}} {
		if got := FromFail(fail); !errors.Is(got, ErrInternal) {
			t.Errorf("%v arrives as %v", fail, got)
		}
	}
}

func FuzzFail(f *testing.F) {
	f.Add(int32(7), "not here")
	f.Add(int32(99), strings.Repeat("\u00e9", 200)+"\x1b[31m\x00\xff")
	f.Fuzz(func(t *testing.T, code int32, message string) {
		err := FromFail(&pb.Fail{Code: pb.Code(code), Message: message}).(*Error)
		if len(err.Message) > maxMessage || !utf8.ValidString(err.Message) ||
			strings.ContainsFunc(err.Message, unicode.IsControl) {
			t.Fatalf("message %q got through", err.Message)
		}
		again := ToFail(err)
		if _, bad := proto.Marshal(again); bad != nil {
			t.Fatal(bad)
		}
		if same := FromFail(again).(*Error); *same != *err {
			t.Fatalf("%+v became %+v", err, same)
		}
	})
}
