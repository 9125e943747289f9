package uplink

import (
	"bytes"
	"context"
	"crypto/rand"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/satellite/satclient"
	"github.com/cairnstorage/cairn/uplink/internal/keys"
	"github.com/cairnstorage/cairn/uplink/internal/names"
	"github.com/cairnstorage/cairn/uplink/internal/seal"
)

// memSatellite is a satellite for tests: its Metadata service over a map,
// without nodes. What it does is what SPEC.md says a satellite does.
type memSatellite struct {
	pb.UnimplementedMetadataServer

	mu      sync.Mutex
	now     int64
	page    int // items of a list page
	buckets map[string]map[string]*pb.Object
	calls   map[string]int
	meddle  func(method string) error // called before each call, without the lock
	spoil   func(*pb.ListObjectsResponse)
	lease   func(*pb.LeaseRequest) (*pb.LeaseResponse, error)
}

func newMemSatellite(t *testing.T) (*memSatellite, *satclient.Client) {
	t.Helper()
	s := &memSatellite{page: 3, buckets: make(map[string]map[string]*pb.Object), calls: make(map[string]int)}
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(grpc.UnaryInterceptor(s.intercept))
	pb.RegisterMetadataServer(server, s)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:///satellite", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return s, satclient.NewClient(conn, satclient.Options{APIKey: []byte("key"), Patience: -1})
}

func (s *memSatellite) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	method := info.FullMethod[strings.LastIndexByte(info.FullMethod, '/')+1:]
	if s.meddle != nil {
		if err := s.meddle(method); err != nil {
			return nil, satclient.ToStatus(err)
		}
	}
	s.mu.Lock()
	s.calls[method]++
	s.mu.Unlock()
	res, err := handle(ctx, req)
	return res, satclient.ToStatus(err)
}

// newTestProject returns a project of a memSatellite, under the root key that
// begins with this byte.
func newTestProject(t *testing.T, root byte) (*Project, *memSatellite) {
	t.Helper()
	s, client := newMemSatellite(t)
	return testProject(client, root), s
}

func testProject(client *satclient.Client, root byte) *Project {
	c := newConfig(nil)
	return &Project{
		sat: client, root: [keys.Size]byte{root}, log: c.logger, now: c.now, rand: rand.Reader,
		buckets: make(map[string]*names.Bucket),
	}
}

func (s *memSatellite) CreateBucket(_ context.Context, req *pb.CreateBucketRequest) (*pb.Bucket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[req.Name] != nil {
		return nil, satclient.ErrBucketExists
	}
	s.buckets[req.Name] = make(map[string]*pb.Object)
	return &pb.Bucket{Name: req.Name, Created: 1000}, nil
}

func (s *memSatellite) DeleteBucket(_ context.Context, req *pb.DeleteBucketRequest) (*pb.DeleteBucketResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	objects := s.buckets[req.Name]
	switch {
	case objects == nil:
		return nil, satclient.ErrBucketNotFound
	case len(objects) > 0 && !req.Force:
		return nil, satclient.ErrBucketNotEmpty
	}
	deleted := uint64(0)
	for key := range objects {
		if deleted == uint64(s.page) {
			return &pb.DeleteBucketResponse{Deleted: deleted, More: true}, nil
		}
		delete(objects, key)
		deleted++
	}
	delete(s.buckets, req.Name)
	return &pb.DeleteBucketResponse{Deleted: deleted}, nil
}

func (s *memSatellite) ListBuckets(_ context.Context, req *pb.ListBucketsRequest) (*pb.ListBucketsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	res := new(pb.ListBucketsResponse)
	for _, name := range sortedKeys(s.buckets) {
		if name <= req.After {
			continue
		}
		if len(res.Buckets) == s.page {
			res.More = true
			break
		}
		res.Buckets = append(res.Buckets, &pb.Bucket{Name: name, Created: 1000})
	}
	return res, nil
}

func sortedKeys[V any](m map[string]V) []string {
	var out []string
	for key := range m {
		out = append(out, key)
	}
	slices.Sort(out)
	return out
}

func (s *memSatellite) put(bucket string, o *pb.Object) *pb.Object {
	s.now++
	o.Version, o.Created = []byte{7: byte(s.now), 6: byte(s.now >> 8)}, s.now*1000
	s.buckets[bucket][string(o.Key)] = o
	return o
}

func (s *memSatellite) CommitObject(_ context.Context, req *pb.CommitObjectRequest) (*pb.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[req.Bucket] == nil {
		return nil, satclient.ErrBucketNotFound
	}
	return s.put(req.Bucket, &pb.Object{Key: req.Key, Size: req.Size, SealedMetadata: req.SealedMetadata, Inline: req.Inline}), nil
}

func (s *memSatellite) get(bucket string, key []byte) (*pb.Object, error) {
	objects := s.buckets[bucket]
	if objects == nil {
		return nil, satclient.ErrBucketNotFound
	}
	if o := objects[string(key)]; o != nil {
		return o, nil
	}
	return nil, satclient.ErrObjectNotFound
}

func (s *memSatellite) GetObject(_ context.Context, req *pb.GetObjectRequest) (*pb.GetObjectResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.get(req.Bucket, req.Key)
	return &pb.GetObjectResponse{Object: o}, err
}

func (s *memSatellite) DeleteObjects(_ context.Context, req *pb.DeleteObjectsRequest) (*pb.DeleteObjectsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[req.Bucket] == nil {
		return nil, satclient.ErrBucketNotFound
	}
	res := new(pb.DeleteObjectsResponse)
	for i, key := range req.Keys {
		o, err := s.get(req.Bucket, key)
		found := err == nil && (req.Versions == nil || bytes.Equal(req.Versions[i], o.Version))
		if res.Found = append(res.Found, found); found {
			delete(s.buckets[req.Bucket], string(key))
		}
	}
	return res, nil
}

func (s *memSatellite) CopyObject(_ context.Context, req *pb.CopyObjectRequest) (*pb.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.get(req.Bucket, req.Key)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(o.Version, req.Version) {
		return nil, satclient.ErrChanged
	}
	if s.buckets[req.ToBucket] == nil {
		return nil, satclient.ErrBucketNotFound
	}
	if s.buckets[req.ToBucket][string(req.ToKey)] != nil && req.IfAbsent {
		return nil, satclient.ErrObjectExists
	}
	if req.Move {
		delete(s.buckets[req.Bucket], string(req.Key))
	}
	return s.put(req.ToBucket, &pb.Object{Key: req.ToKey, Size: o.Size, SealedMetadata: req.SealedMetadata, Inline: o.Inline}), nil
}

func (s *memSatellite) Lease(_ context.Context, req *pb.LeaseRequest) (*pb.LeaseResponse, error) {
	return s.lease(req)
}

func (s *memSatellite) ListObjects(_ context.Context, req *pb.ListObjectsRequest) (*pb.ListObjectsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[req.Bucket] == nil {
		return nil, satclient.ErrBucketNotFound
	}
	res := new(pb.ListObjectsResponse)
	last := ""
	for _, key := range sortedKeys(s.buckets[req.Bucket]) {
		rest, found := strings.CutPrefix(key, string(req.Prefix))
		if !found || rest == "" {
			continue
		}
		o := s.buckets[req.Bucket][key]
		item := &pb.ListItem{Object: &pb.Object{Key: o.Key, Version: o.Version, Size: o.Size, Created: o.Created}}
		if req.WithMetadata {
			item.Object.SealedMetadata = o.SealedMetadata
		}
		name := key
		if first := 1 + int(rest[0]); !req.Recursive && first < len(rest) { // components are short in tests
			name = string(req.Prefix) + rest[:first]
			item = &pb.ListItem{Prefix: []byte(name)}
			if name == last {
				continue
			}
			last = name
			name += "\xff" // a prefix comes after the object of its name and covers all below
		}
		if name <= string(req.After) {
			continue
		}
		if len(res.Items) == s.page {
			res.More = true
			break
		}
		res.Items, res.Next = append(res.Items, item), []byte(name)
	}
	if s.spoil != nil {
		s.spoil(res)
	}
	return res, nil
}

// putTest makes an inline object without the upload engine.
func putTest(t *testing.T, p *Project, bucket, key string, o Object) {
	t.Helper()
	n, err := p.name(bucket, key)
	if err != nil {
		t.Fatal(err)
	}
	secret := &pb.ObjectSecret{ContentKey: make([]byte, keys.Size), Size: uint64(o.Size), Metadata: o.Metadata}
	if !o.Modified.IsZero() {
		secret.Modified = o.Modified.UnixMilli()
	}
	sealed, err := seal.Secret(n.metadata, secret, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.sat.CommitObject(t.Context(), &pb.CommitObjectRequest{
		Bucket: bucket, Key: n.sealed, Size: uint64(o.Size), SealedMetadata: sealed, Nonce: make([]byte, 16),
	})
	if err != nil {
		t.Fatal(err)
	}
}

func makeBucket(t *testing.T, p *Project, name string) {
	t.Helper()
	if _, err := p.CreateBucket(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

var someTime = time.UnixMilli(1_700_000_000_123)
