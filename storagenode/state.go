package storagenode

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/proto/pb"
	"github.com/cairnstorage/cairn/storagenode/internal/durable"
	"google.golang.org/protobuf/proto"
)

// stateVersion is that of the state file's format.
const stateVersion = 1

// A state is what a node remembers over restarts besides its shards: small
// things, in one file that is replaced as a whole. How far journals were
// followed is not among them: that lies beside the shards (see shardstore).
// It is safe for concurrent use.
type state struct {
	path string

	mu        sync.Mutex
	satellite ident.ID
	ports     map[string]string // listen address as asked for → with its port
	data      map[string]string // data directory → id of the store in it
	groups    map[uint32]*groupState
}

// A groupState is what a node knows of one placement group.
type groupState struct {
	record *pb.Signed // newest group record
	group  *order.Group
	signed *pb.Signed // newest journal head
	head   *order.Head
}

// stateJSON is the content of the state file. Signed records are kept as they
// were sent, and checked again when they are read.
type stateJSON struct {
	Version   int               `json:"version"`
	Satellite ident.ID          `json:"satellite"`
	Ports     map[string]string `json:"ports,omitempty"`
	Data      map[string]string `json:"data,omitempty"`
	Groups    []groupJSON       `json:"groups,omitempty"`
}

type groupJSON struct {
	Record string `json:"record"`
	Head   string `json:"head,omitempty"`
}

// errSatellite is returned when a directory was used with another satellite.
var errSatellite = errors.New("directory belongs to a node of another satellite")

// readState reads the state file in dir. One that does not exist is empty.
func readState(dir string) (*state, error) {
	s := &state{
		path:   filepath.Join(dir, "state.json"),
		ports:  make(map[string]string),
		data:   make(map[string]string),
		groups: make(map[uint32]*groupState),
	}
	raw, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	var j stateJSON
	if err := json.Unmarshal(raw, &j); err != nil {
		return nil, fmt.Errorf("%s is damaged (%w): remove it, and the node will ask the satellite anew", s.path, err)
	}
	if j.Version > stateVersion {
		return nil, fmt.Errorf("%s: version %d is newer than this program", s.path, j.Version)
	}
	s.satellite = j.Satellite
	maps.Copy(s.ports, j.Ports)
	maps.Copy(s.data, j.Data)
	for _, g := range j.Groups {
		if err := s.readGroup(g); err != nil {
			return nil, fmt.Errorf("%s is damaged (%w): remove it, and the node will ask the satellite anew", s.path, err)
		}
	}
	return s, nil
}

func (s *state) readGroup(j groupJSON) error {
	var g groupState
	var err error
	if g.record, err = decodeSigned(j.Record); err != nil {
		return err
	}
	if g.group, err = order.OpenGroup(g.record, s.satellite); err != nil {
		return err
	}
	if j.Head != "" {
		if g.signed, err = decodeSigned(j.Head); err != nil {
			return err
		}
		if g.head, err = order.OpenHead(g.signed, s.satellite); err != nil {
			return err
		}
	}
	s.groups[g.group.ID] = &g
	return nil
}

func decodeSigned(text string) (*pb.Signed, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	signed := &pb.Signed{}
	return signed, proto.Unmarshal(raw, signed)
}

func encodeSigned(signed *pb.Signed) (string, error) {
	raw, err := proto.Marshal(signed)
	return base64.StdEncoding.EncodeToString(raw), err
}

// write replaces the state file. The caller holds mu.
func (s *state) write() error {
	j := stateJSON{Version: stateVersion, Satellite: s.satellite, Ports: s.ports, Data: s.data}
	for _, id := range slices.Sorted(maps.Keys(s.groups)) {
		var out groupJSON
		var err error
		g := s.groups[id]
		if out.Record, err = encodeSigned(g.record); err != nil {
			return err
		}
		if g.signed != nil {
			if out.Head, err = encodeSigned(g.signed); err != nil {
				return err
			}
		}
		j.Groups = append(j.Groups, out)
	}
	raw, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.WriteFile(s.path, append(raw, '\n')); err != nil {
		return fmt.Errorf("write the state of the node: %w", err)
	}
	return nil
}

// bind ties the directory to a satellite: shards and journals of another one
// would make no sense here.
func (s *state) bind(satellite ident.ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.satellite == satellite {
		return nil
	}
	if !s.satellite.IsZero() {
		return fmt.Errorf("%w: %s: give this one a --dir of its own", errSatellite, s.satellite)
	}
	s.satellite = satellite
	return s.write()
}

// known gives the data directories used before.
func (s *state) known() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.data)
}

// setData remembers data directories, by path, and forgets those that were given
// up.
func (s *state) setData(ids map[string]string, gone []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := len(gone) > 0
	for _, path := range gone {
		delete(s.data, path)
	}
	for path, id := range ids {
		if id != "" && s.data[path] != id {
			s.data[path] = id
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return s.write()
}

// port is the remembered form of a listen address, or "".
func (s *state) port(listen string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ports[listen]
}

func (s *state) setPort(listen, chosen string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports[listen] = chosen
	return s.write()
}

// epoch is the newest epoch known of a group.
func (s *state) epoch(group uint32) (epoch uint64, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[group]
	if g == nil {
		return 0, false
	}
	return g.group.Epoch, true
}

// learn remembers a group record whose signature was checked, if it is news.
func (s *state) learn(signed *pb.Signed, group *order.Group) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[group.ID]
	switch {
	case g == nil:
		g = &groupState{}
		s.groups[group.ID] = g
	case g.group.Epoch >= group.Epoch:
		return nil
	}
	g.record, g.group = signed, group
	return s.write()
}

// head is the newest journal head known of a group, or nil.
func (s *state) head(group uint32) (*pb.Signed, *order.Head) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[group]; g != nil {
		return g.signed, g.head
	}
	return nil, nil
}

// setHead remembers a journal head whose signature was checked, if it is ahead
// of the last.
func (s *state) setHead(signed *pb.Signed, head *order.Head) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[head.Group]
	if g == nil || g.head != nil && g.head.Seq >= head.Seq {
		return nil
	}
	g.signed, g.head = signed, head
	return s.write()
}

// all gives all groups that the node knows of, in order.
func (s *state) all() []groupState {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []groupState
	for _, id := range slices.Sorted(maps.Keys(s.groups)) {
		all = append(all, *s.groups[id])
	}
	return all
}

// LockData keeps nodes from being started in dir until unlock is called, and
// says which data directories the node there has used, if that is known.
func LockData(dir string) (unlock func(), data []string, err error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, nil, err
	}
	lock, err := durable.LockQuietly(dir)
	if err != nil {
		return nil, nil, err
	}
	unlock = func() {
		if lock != nil {
			lock.Close()
		}
	}
	s, err := readState(dir)
	if err != nil {
		unlock()
		return nil, nil, err
	}
	return unlock, slices.Sorted(maps.Keys(s.data)), nil
}
