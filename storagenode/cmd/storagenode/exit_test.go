package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
)

// A fakeNode answers on the admin socket of a node's directory.
type fakeNode struct {
	pb.UnimplementedNodeAdminServer
	t         *testing.T
	dir       string
	node      ident.Key
	satellite ident.Key

	mu       sync.Mutex
	exits    int
	refuse   error
	standing *pb.Standing
	server   *grpc.Server
}

func newFakeNode(t *testing.T) *fakeNode {
	t.Helper()
	f := &fakeNode{t: t, dir: shortDir(t)}
	var err error
	if f.satellite, err = ident.Generate(rand.Reader); err != nil {
		t.Fatal(err)
	}
	if f.node, _, err = ident.LoadOrCreate(filepath.Join(f.dir, "key.pem")); err != nil {
		t.Fatal(err)
	}
	f.write("state.json", map[string]any{"version": 1, "satellite": f.satellite.ID()})
	f.start()
	t.Cleanup(f.stop)
	return f
}

func (f *fakeNode) write(name string, content any) {
	f.t.Helper()
	raw, err := json.Marshal(content)
	if err == nil {
		err = os.WriteFile(filepath.Join(f.dir, name), raw, 0o600)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// depart leaves the satellite's word, as the node would.
func (f *fakeNode) depart(slots uint32) {
	f.t.Helper()
	signed, err := order.SignDeparture(f.satellite, &order.Departure{
		Satellite: f.satellite.ID(), Node: f.node.ID(), Slots: slots, Completed: time.Unix(1e9, 0),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.write("departure.json", map[string]any{"body": signed.Body, "signature": signed.Signature})
}

func (f *fakeNode) start() {
	f.t.Helper()
	path := filepath.Join(f.dir, "admin.sock")
	os.Remove(path)
	listener, err := net.Listen("unix", path)
	if err != nil {
		f.t.Fatal(err)
	}
	f.server = grpc.NewServer()
	pb.RegisterNodeAdminServer(f.server, f)
	go f.server.Serve(listener)
}

func (f *fakeNode) stop() { f.server.Stop() }

func (f *fakeNode) set(s *pb.Standing) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.standing = s
}

func (f *fakeNode) Exit(context.Context, *pb.NodeExitRequest) (*pb.NodeExitResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.exits++
	return &pb.NodeExitResponse{}, f.refuse
}

func (f *fakeNode) Info(context.Context, *pb.InfoRequest) (*pb.InfoResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &pb.InfoResponse{Standing: f.standing}, nil
}

func exiting(leaving uint32) *pb.Standing {
	return &pb.Standing{State: pb.NodeState_NODE_STATE_EXITING, Slots: leaving, Leaving: leaving}
}

// A lineWriter lets a test wait for what is printed.
type lineWriter struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func newLineWriter() *lineWriter { return &lineWriter{more: make(chan struct{}, 1)} }

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
	return w.text.Write(p)
}

func (w *lineWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// await waits until something was printed.
func (w *lineWriter) await(t *testing.T, text string) {
	t.Helper()
	timeout := time.After(2 * time.Minute)
	for !strings.Contains(w.String(), text) {
		select {
		case <-w.more:
		case <-timeout:
			t.Fatalf("waited for %q; printed so far:\n%s", text, w)
		}
	}
}

// An exit is watched over restarts of the node, to its end.
func TestExitIsWatched(t *testing.T) {
	f := newFakeNode(t)
	out, errOut := newLineWriter(), newLineWriter()
	done := make(chan int, 1)
	go func() { done <- run(t.Context(), []string{"exit", "--dir", f.dir}, out, errOut) }()
	out.await(t, "waiting for the satellite to begin\n")
	f.set(exiting(3))
	out.await(t, "slots still to be handed over: 3\n")
	f.stop()
	out.await(t, "the node is not running")
	f.start()
	f.set(exiting(1))
	out.await(t, "slots still to be handed over: 1\n")
	f.set(&pb.Standing{State: pb.NodeState_NODE_STATE_GONE})
	out.await(t, "waiting for the satellite's signature\n")
	f.depart(3)
	if code := <-done; code != exitOK {
		t.Errorf("exit ended with %d: %s", code, errOut)
	}
	if text := out.String(); !strings.Contains(text, "all 3 slots are handed over") || !strings.HasSuffix(text, "the node may be stopped and its directory removed\n") ||
		strings.Count(text, "handed over: 3\n") != 1 {
		t.Errorf("printed:\n%s", text)
	}
	// It is no less true once the node is stopped.
	f.stop()
	if code, out, errOut := command(t.Context(), "exit", "--dir", f.dir); code != exitOK || !strings.Contains(out, "all 3 slots") {
		t.Errorf("afterwards: %d, %s %s", code, out, errOut)
	}
}

func TestExitEndsOtherwise(t *testing.T) {
	f := newFakeNode(t)
	code, out, _ := command(t.Context(), "exit", "--dir", f.dir, "--no-wait")
	if code != exitOK || !strings.Contains(out, "storagenode info --dir "+f.dir) || f.exits != 1 {
		t.Errorf("no wait: %d, %s, %d calls", code, out, f.exits)
	}
	f.set(&pb.Standing{State: pb.NodeState_NODE_STATE_DISQUALIFIED, Reason: "it lies"})
	if code, _, errOut := command(t.Context(), "exit", "--dir", f.dir); code != exitFailed || !strings.Contains(errOut, "it lies") {
		t.Errorf("disqualified: %d, %s", code, errOut)
	}
	f.set(exiting(2))
	ctx, cancel := context.WithCancel(t.Context())
	lines, errLines := newLineWriter(), newLineWriter()
	done := make(chan int, 1)
	go func() { done <- run(ctx, []string{"exit", "--dir", f.dir}, lines, errLines) }()
	lines.await(t, "handed over: 2")
	cancel()
	if code := <-done; code != exitFailed || !strings.Contains(errLines.String(), "run the same again") {
		t.Errorf("interrupted: %d, %s", code, errLines)
	}
	f.refuse = errors.New("no, stay")
	if code, out, errOut := command(t.Context(), "exit", "--dir", f.dir); code != exitFailed || !strings.Contains(errOut, "no, stay") || out != "" {
		t.Errorf("refused: %d, %s %s", code, out, errOut)
	}
	f.stop()
	if code, _, errOut := command(t.Context(), "exit", "--dir", f.dir); code != exitFailed || !strings.Contains(errOut, "no storage node is running") {
		t.Errorf("not running: %d, %s", code, errOut)
	}
	if code, _, _ := command(t.Context(), "exit"); code != exitUsage {
		t.Errorf("no directory: %d", code)
	}
	// Somebody else's word does not count.
	other := newFakeNode(t)
	other.dir, other.node = f.dir, f.node
	other.depart(5)
	if code, _, errOut := command(t.Context(), "exit", "--dir", f.dir); code != exitFailed || !strings.Contains(errOut, "no storage node is running") {
		t.Errorf("forged: %d, %s", code, errOut)
	}
}
