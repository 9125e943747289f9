package satellite

import (
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/proto/transport"
	"github.com/cairnstorage/cairn/satellite/satclient"
)

// TestStrangersMessage: no message is read of those without an API key. Were
// it, the call would wait for the message, which never comes.
func TestStrangersMessage(t *testing.T) {
	b := newServedBench(t)
	call, err := b.conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, pb.Metadata_CommitObject_FullMethodName)
	must(t, err)
	wantError(t, "a call without key", satclient.FromStatus(call.RecvMsg(&pb.Object{})), satclient.ErrDenied)
}

// TestNodesMessages: anyone may call the Nodes service, so what it takes is small.
func TestNodesMessages(t *testing.T) {
	r := start(t, testConfig(t.TempDir()))
	n := r.newNode(newKey(t))
	news := checkInOf(roomy)
	_, err := n.CheckIn(t.Context(), news)
	must(t, err)
	if known := r.registry.view(); len(known) != 1 || !known[0].Remote.IsLoopback() {
		t.Errorf("the registry knows %+v", known)
	}
	news.Version = strings.Repeat("a", satclient.MaxNodeMessage)
	_, err = n.CheckIn(t.Context(), news)
	if wantError(t, "a large check-in", err, satclient.ErrBadRequest); err != nil && !strings.Contains(err.Error(), "larger than") {
		t.Errorf("it was read: %v", err)
	}

	at, err := transport.ParseAddress(r.Address())
	must(t, err)
	conn, err := n.host.DialGRPC(at, transport.SatelliteProtocol)
	must(t, err)
	defer conn.Close()
	_, err = pb.NewNodesClient(conn).CheckIn(t.Context(), checkInOf(roomy))
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("a node among the uplinks: %v", err)
	}
}
