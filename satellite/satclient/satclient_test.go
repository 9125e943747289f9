package satclient

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cairnstorage/cairn/proto/pb"
)

// TestTable: every error passes the wire and comes back as itself, with words.
func TestTable(t *testing.T) {
	seen := make(map[string]bool)
	for _, row := range table {
		if k := row.(*kind); seen[k.reason] {
			t.Errorf("reason %s is there twice", k.reason)
		} else {
			seen[k.reason] = true
		}
		for _, err := range []error{row, fmt.Errorf("%w: some detail", row), fmt.Errorf("doing this: %w", row)} {
			back := FromStatus(ToStatus(err))
			for _, other := range table {
				if errors.Is(back, other) != (other == row) {
					t.Errorf("%q came back as %v, which is %v", err, back, other)
				}
			}
			if back.Error() != err.Error() {
				t.Errorf("%q came back saying %q", err, back)
			}
			if back := Outcome(&pb.Committed{Reason: Reason(err)}); back != row {
				t.Errorf("%q of one object came back as %v", err, back)
			}
		}
	}
	if ToStatus(nil) != nil || FromStatus(nil) != nil || Outcome(&pb.Committed{}) != nil {
		t.Error("no error became one")
	}
}

// TestUnknown: what is not in the table keeps its words to itself.
func TestUnknown(t *testing.T) {
	err := fmt.Errorf("open /secret: %w", errors.New("denied"))
	if Known(err) || Known(ErrInternal) || !Known(ErrBusy) || !Known(context.Canceled) {
		t.Error("Known is wrong")
	}
	back := FromStatus(ToStatus(err))
	if !errors.Is(back, ErrInternal) || strings.Contains(back.Error(), "secret") {
		t.Errorf("came back as %v", back)
	}
	for _, reason := range []string{Reason(err), "OF A LATER VERSION"} {
		if back := Outcome(&pb.Committed{Reason: reason}); back != ErrInternal {
			t.Errorf("reason %q is %v", reason, back)
		}
	}
	for _, err := range []error{context.Canceled, context.DeadlineExceeded} {
		if back := FromStatus(ToStatus(fmt.Errorf("waiting: %w", err))); !errors.Is(back, err) {
			t.Errorf("%v came back as %v", err, back)
		}
	}
}

// TestForeignStatus: what gRPC itself, or a newer satellite, says.
func TestForeignStatus(t *testing.T) {
	for _, tt := range []struct {
		code codes.Code
		want error
	}{
		{codes.Unavailable, ErrUnavailable},
		{codes.Unimplemented, ErrUnimplemented},
		{codes.ResourceExhausted, ErrBadRequest},
		{codes.Unauthenticated, ErrDenied},
		{codes.PermissionDenied, ErrDenied},
		{codes.InvalidArgument, ErrBadRequest},
		{codes.Internal, ErrInternal},
		{codes.Unknown, ErrInternal},
		{codes.DataLoss, ErrInternal},
		{codes.Code(99), ErrInternal},
	} {
		if err := FromStatus(status.Error(tt.code, "words")); !errors.Is(err, tt.want) || !strings.HasSuffix(err.Error(), ": words") {
			t.Errorf("%v came back as %q, want %v", tt.code, err, tt.want)
		}
	}
	newer := (&kind{"FROM_THE_FUTURE", codes.NotFound, "something new"}).status("something new is missing")
	if err := FromStatus(newer); !errors.Is(err, ErrObjectNotFound) {
		t.Errorf("an unknown reason came back as %v", err)
	}
	hostile := FromStatus(status.Error(codes.Internal, strings.Repeat("\x1b[2J\n", 5000)+"\xff"))
	if s := hostile.Error(); len(s) > maxMessage+100 || strings.ContainsAny(s, "\x1b\n") {
		t.Errorf("hostile words came back as %d bytes", len(s))
	}
}

// script is a connection that answers calls with errors, one after another,
// and then with success.
type script struct {
	grpc.ClientConnInterface
	errs  []error
	calls []context.Context
}

func (s *script) Invoke(ctx context.Context, _ string, _, _ any, _ ...grpc.CallOption) error {
	s.calls = append(s.calls, ctx)
	if len(s.errs) == 0 {
		return nil
	}
	err := s.errs[0]
	s.errs = s.errs[1:]
	if err == errSilence {
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	}
	return err
}

var (
	errSilence = errors.New("no answer")
	errDown    = status.Error(codes.Unavailable, "connection refused")
	errGone    = ErrObjectNotFound.(*kind).status("object not found")
)

func TestCalls(t *testing.T) {
	list := func(ctx context.Context, c *Client) error {
		_, err := c.ListBuckets(ctx, &pb.ListBucketsRequest{})
		return err
	}
	create := func(ctx context.Context, c *Client) error {
		_, err := c.CreateBucket(ctx, &pb.CreateBucketRequest{})
		return err
	}
	move := func(ctx context.Context, c *Client) error {
		_, err := c.CopyObject(ctx, &pb.CopyObjectRequest{Move: true})
		return err
	}
	down := func(n int) (errs []error) {
		for range n {
			errs = append(errs, errDown)
		}
		return errs
	}
	tests := []struct {
		name     string
		call     func(context.Context, *Client) error
		patience time.Duration
		errs     []error
		calls    int // made in all; 0: several
		want     error
	}{
		{"at once", list, 0, nil, 1, nil},
		{"down for a moment", list, 0, down(3), 4, nil},
		{"down for long", list, 0, down(1000), 0, ErrUnavailable},
		{"without patience", list, -1, down(3), 1, ErrUnavailable},
		{"not there", list, 0, []error{errDown, errGone}, 2, ErrObjectNotFound},
		{"may not be repeated", create, 0, down(3), 1, ErrUnavailable},
		{"nor a move", move, 0, down(3), 1, ErrUnavailable},
		{"silence, then an answer", list, time.Hour, []error{errSilence}, 2, nil},
		{"silence", create, 0, []error{errSilence}, 1, ErrUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{errs: tt.errs}
				c := NewClient(s, Options{APIKey: []byte("key"), Patience: tt.patience})
				begun := time.Now()
				err := tt.call(context.Background(), c)
				if !errors.Is(err, tt.want) || tt.calls != 0 && len(s.calls) != tt.calls {
					t.Errorf("%d calls, %v, want %d calls, %v", len(s.calls), err, tt.calls, tt.want)
				}
				if took := time.Since(begun); took > 45*time.Second {
					t.Errorf("it took %v", took)
				}
				for _, ctx := range s.calls {
					md, _ := metadata.FromOutgoingContext(ctx)
					if key := md.Get(APIKeyHeader); len(key) != 1 || key[0] != "key" {
						t.Errorf("call carries the API keys %q", key)
					}
				}
			})
		})
	}
}

// TestCallersDeadline: the caller's own deadline is not the satellite's fault.
func TestCallersDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewClient(&script{errs: []error{errDown, errDown, errSilence}}, Options{})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := c.ListBuckets(ctx, &pb.ListBucketsRequest{})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ListBuckets: %v", err)
		}
	})
}

// Whoever reads the error of a dial wants to know who does not answer, not
// which layers it came through.
func TestDialErrorsReadWell(t *testing.T) {
	err := FromStatus(status.Error(codes.Unavailable, `connection error: desc = "transport: Error while dialing: peer X at A: connection refused"`))
	if want := "satellite is unreachable: peer X at A: connection refused"; !errors.Is(err, ErrUnavailable) || err.Error() != want {
		t.Errorf("%v; want %s", err, want)
	}
}
