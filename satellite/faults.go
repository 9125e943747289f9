package satellite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"google.golang.org/grpc"

	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/satellite/kv"
	"github.com/cairnstorage/cairn/satellite/meta"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// faults is what the errors of the packages below mean to a caller of the API.
// What is not here, nor of satclient, is internal.
var faults = []struct{ from, to error }{
	{meta.ErrInvalid, satclient.ErrBadRequest},
	{meta.ErrProjectNotFound, satclient.ErrProjectNotFound},
	{meta.ErrProjectExists, satclient.ErrProjectExists},
	{meta.ErrBucketNotFound, satclient.ErrBucketNotFound},
	{meta.ErrBucketExists, satclient.ErrBucketExists},
	{meta.ErrBucketNotEmpty, satclient.ErrBucketNotEmpty},
	{meta.ErrObjectNotFound, satclient.ErrObjectNotFound},
	{meta.ErrObjectExists, satclient.ErrObjectExists},
	{meta.ErrChanged, satclient.ErrChanged},
	{meta.ErrTooMuch, satclient.ErrBusy},
	{meta.ErrUploadNotFound, satclient.ErrUploadNotFound},
	{meta.ErrGroupNotFound, satclient.ErrGroupNotFound},
	{meta.ErrSegmentExists, satclient.ErrBadRequest},
	{meta.ErrSegmentUnknown, satclient.ErrBadRequest},
	{meta.ErrNonceReused, satclient.ErrBadRequest},
	{meta.ErrStaleEpoch, satclient.ErrBusy},
	{kv.ErrTooBig, satclient.ErrBadRequest},
	{kv.ErrFull, satclient.ErrRefusing},
	{kv.ErrBroken, satclient.ErrRefusing},
	{kv.ErrClosed, satclient.ErrUnavailable},
}

// fault returns err as one of satclient's errors where it stands for one.
func fault(err error) error {
	for _, f := range faults {
		if !errors.Is(err, f.from) {
			continue
		}
		detail, ok := strings.CutPrefix(err.Error(), f.from.Error())
		if !ok { // wrapped once more on the way
			detail = ": " + err.Error()
		}
		switch {
		case f.from == kv.ErrFull: // paths and sizes are for the operator, whose log has them
			return fmt.Errorf("%w: its disk is full, its operator has to free space", f.to)
		case f.from == kv.ErrBroken:
			return fmt.Errorf("%w: its disk failed, its operator has to restart it", f.to)
		case f.from == meta.ErrSegmentExists, f.from == meta.ErrSegmentUnknown, f.from == meta.ErrNonceReused:
			return fmt.Errorf("%w: %s%s", f.to, strings.TrimPrefix(f.from.Error(), "meta: "), detail)
		}
		return fmt.Errorf("%w%s", f.to, detail)
	}
	return err
}

// answer is the one place where errors of handlers become statuses. It logs
// what the caller is not told, and keeps a panic to its request.
func answer(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (res any, err error) {
		defer func() {
			if r := recover(); r != nil {
				log.Error("request panicked", "method", info.FullMethod, "panic", r, "stack", string(debug.Stack()))
				res, err = nil, satclient.ToStatus(satclient.ErrInternal)
			}
		}()
		res, err = handle(ctx, req)
		if err == nil {
			return res, nil
		}
		told := fault(err)
		if !satclient.Known(told) || errors.Is(told, satclient.ErrRefusing) {
			from, _ := transport.PeerFromContext(ctx)
			log.Error("request failed", "method", info.FullMethod, "peer", from, "error", err)
		}
		return nil, satclient.ToStatus(told)
	}
}

// serverOptions are those of every gRPC server of a satellite.
func serverOptions(log *slog.Logger) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(answer(log)),
		grpc.MaxRecvMsgSize(satclient.MaxMessage),
		grpc.MaxSendMsgSize(transport.MaxReply),
		grpc.MaxHeaderListSize(16 << 10),
	}
}
