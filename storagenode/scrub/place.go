package scrub

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cairnstorage/cairn/proto/order"
	"github.com/cairnstorage/cairn/storagenode/internal/durable"
	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// A place is how far a pass has come. It is kept in a file, which may be lost: then
// the pass begins anew.
type place struct {
	Began    time.Time         `json:"began,omitzero"`    // of this pass; zero: none is under way
	Finished time.Time         `json:"finished,omitzero"` // of the last pass
	Dirs     map[string]string `json:"dirs,omitempty"`    // by id: the last shard read, or finished
}

const finished = "finished"

func (p *place) set(dir, to string) {
	if p.Dirs == nil {
		p.Dirs = make(map[string]string)
	}
	p.Dirs[dir] = to
}

func (p *place) finish(dir string)   { p.set(dir, finished) }
func (p *place) has(dir string) bool { return p.Dirs[dir] == finished }
func (p *place) reach(dir string, key shardstore.Key) {
	p.set(dir, strconv.FormatUint(uint64(key.Group), 10)+" "+key.Segment.String())
}

// after is the key behind which a directory is to be read. What cannot be made
// out is the beginning.
func (p *place) after(dir string) (key shardstore.Key) {
	group, segment, ok := strings.Cut(p.Dirs[dir], " ")
	number, err := strconv.ParseUint(group, 10, 32)
	raw, hexErr := hex.DecodeString(segment)
	if !ok || err != nil || hexErr != nil || len(raw) != len(key.Segment) {
		return shardstore.Key{}
	}
	return shardstore.Key{Group: uint32(number), Segment: order.SegmentID(raw)}
}

func load(path string, log *slog.Logger) (p place) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p
	}
	if err == nil {
		err = json.Unmarshal(raw, &p)
	}
	if err != nil {
		log.Warn("it is not known how far scrubbing had come; it begins anew", "error", err)
		return place{}
	}
	return p
}

func (s *Scrubber) save() {
	raw, err := json.Marshal(s.place)
	if err == nil {
		err = durable.WriteFile(s.c.Path, raw)
	}
	if err != nil {
		s.c.Logger.Warn("cannot write down how far scrubbing has come", "error", err)
	}
}
