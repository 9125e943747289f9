package storagenode

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/cairnstorage/cairn/storagenode/shardstore"
)

// openStore opens the shards in all data directories that can be used.
func (n *Node) openStore() error {
	known := n.state.known()
	for _, path := range n.config.Replaced {
		path, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		delete(known, path)
	}
	var err error
	n.store, err = shardstore.Open(shardstore.Config{
		Dirs:     n.config.Data,
		Known:    known,
		Capacity: n.config.Capacity,
		Reserve:  n.config.Reserve,
		Logger:   n.log,
		Now:      n.config.Now,
		Random:   n.config.Random,
	})
	if err != nil {
		return explainStore(err, n.config.Dir)
	}
	ids := make(map[string]string)
	for _, d := range n.store.Usage().Dirs {
		ids[d.Path] = d.ID
	}
	gone, err := n.giveUp(known, ids)
	if err != nil {
		return err
	}
	return n.state.setData(ids, gone)
}

// giveUp deals with data directories that were used before and are not any more,
// and returns their paths. What is in them the node has claimed to hold, so one is
// left out only if it was moved, or if the operator said so: then it is not among
// known, those that the node must not be without, and the journals are read again
// to find out what was in it.
func (n *Node) giveUp(known, ids map[string]string) (gone []string, err error) {
	lost := false
	present := slices.Collect(maps.Values(ids))
	for path, id := range n.state.known() {
		if slices.Contains(n.config.Data, path) {
			continue
		}
		gone = append(gone, path)
		if slices.Contains(present, id) {
			continue
		}
		if _, needed := known[path]; needed {
			return nil, fmt.Errorf("data directory %s was used before: name it with --data, too, "+
				"or give up what it holds, for good, with --replaced and its path", path)
		}
		lost = true
		n.log.Warn("what a data directory held is given up, and missing from now on", "data", path)
	}
	if lost {
		err = n.store.Rewind()
	}
	return gone, err
}

// explainStore adds what can be done about an error of shardstore.Open.
func explainStore(err error, dir string) error {
	switch {
	case errors.Is(err, shardstore.ErrIndex):
		return fmt.Errorf("%w; to make it again from the volumes, run: storagenode rebuild-index --dir %s", err, dir)
	case errors.Is(err, shardstore.ErrLost):
		return fmt.Errorf("%w; if its shards are lost for good, start once with --replaced and that directory", err)
	}
	return err
}
