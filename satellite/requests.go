package satellite

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairnstorage/cairn/proto/observe"
	"github.com/cairnstorage/cairn/proto/pb"
)

// requests counts those to the satellite's services, by method. The methods are
// known beforehand, so that callers cannot make it grow.
type requests struct {
	methods []*method
	byName  map[string]*method // by full name
}

// method is what is counted of one method.
type method struct {
	service, name string
	answers       [codes.Unauthenticated + 1]atomic.Uint64 // by status code
	took          observe.Latencies
}

// answered counts an answer.
func (m *method) answered(err error) {
	code := status.Code(err)
	if int(code) >= len(m.answers) {
		code = codes.Unknown
	}
	m.answers[code].Add(1)
}

func newRequests() *requests {
	r := &requests{byName: make(map[string]*method)}
	for _, s := range []*grpc.ServiceDesc{&pb.Metadata_ServiceDesc, &pb.Nodes_ServiceDesc, &pb.Admin_ServiceDesc} {
		short := s.ServiceName[strings.LastIndexByte(s.ServiceName, '.')+1:]
		for _, d := range s.Methods {
			m := &method{service: short, name: d.MethodName}
			r.methods = append(r.methods, m)
			r.byName["/"+s.ServiceName+"/"+d.MethodName] = m
		}
	}
	return r
}

// options are those of every gRPC server of a satellite, which has its requests
// counted.
func (r *requests) options(log *slog.Logger) []grpc.ServerOption {
	return append([]grpc.ServerOption{grpc.ChainUnaryInterceptor(r.count)}, serverOptions(log)...)
}

// count is the interceptor around all others.
func (r *requests) count(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	begun := time.Now()
	res, err := handle(ctx, req)
	if m := r.byName[info.FullMethod]; m != nil {
		m.answered(err)
		m.took.Observe(time.Since(begun))
	}
	return res, err
}

// around is count around another interceptor, where only one can be given.
func (r *requests) around(inner grpc.UnaryServerInterceptor) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		return r.count(ctx, req, info, func(ctx context.Context, req any) (any, error) {
			return inner(ctx, req, info, handle)
		})
	}
}

// admitting is admit, with those counted that are not let in: no
// interceptor sees them.
func (r *requests) admitting(admit admission) admission {
	return func(ctx context.Context) (context.Context, error) {
		admitted, err := admit(ctx)
		if err == nil {
			return admitted, nil
		}
		name, _ := grpc.Method(ctx)
		if m := r.byName[name]; m != nil {
			m.answered(err)
		}
		return nil, err
	}
}

// metrics is the metrics of all requests.
func (r *requests) metrics() *observe.Collector {
	return observe.Of(observe.Always(func() []*method { return r.methods }),
		observe.Counters("cairn_satellite_requests_total", "Requests answered, by the status code of the answer.",
			[]string{"service", "method", "code"}, func(all []*method, emit func(uint64, ...string)) {
				for _, m := range all {
					for code := range m.answers {
						if n := m.answers[code].Load(); n > 0 || codes.Code(code) == codes.OK {
							emit(n, m.service, m.name, codes.Code(code).String())
						}
					}
				}
			}),
		observe.Histograms("cairn_satellite_request_duration_seconds", "Time from a request that has come in and was let in to its answer.",
			[]string{"service", "method"}, func(all []*method, emit func(observe.Histogram, ...string)) {
				for _, m := range all {
					emit(m.took.Histogram(), m.service, m.name)
				}
			}),
	)
}
