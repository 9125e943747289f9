package meta

import (
	"context"
	"maps"

	"github.com/cairnstorage/cairn/satellite/kv"
)

// Stats counts what there is.
func (s *Store) Stats(ctx context.Context) (st Stats, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		st = Stats{}
		projects, err := allProjects(r)
		if err != nil {
			return err
		}
		st.Projects = uint64(len(projects))
		for i := range projects {
			st.Objects += projects[i].Objects
			st.Bytes += projects[i].Bytes
		}
		for pair, err := range r.Scan([]byte{kindHead}, []byte{kindHead + 1}) {
			if err != nil {
				return err
			}
			_, h, err := parseHead(pair)
			if err != nil {
				return err
			}
			if h.epoch == lostGroup {
				continue
			}
			st.Groups++
			st.Segments += h.Segments
			st.Stored += h.Bytes
			st.Entries += h.Head
		}
		for _, err := range r.Scan([]byte{kindUpload}, []byte{kindUpload + 1}) {
			if err != nil {
				return err
			}
			st.Uploads++
		}
		return nil
	})
	return st, err
}

// Trouble returns the trouble the satellite is in; nil when there is none.
func (s *Store) Trouble(ctx context.Context) (t *Trouble, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		t, err = getTrouble(r)
		return err
	})
	return t, err
}

func getTrouble(r kv.Reader) (*Trouble, error) {
	v, err := r.Get(troubleKey())
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t, err := decodeTrouble(v)
	if err != nil {
		return nil, err
	}
	return &t, nil
}

// AddTrouble notes proof that a group's journal was once head entries long,
// and returns all the trouble there is. The first text stays.
func (s *Store) AddTrouble(ctx context.Context, group uint32, head uint64, text string) (all Trouble, err error) {
	now := s.timestamp()
	err = s.kv.Update(ctx, func(tx kv.Tx) error {
		t, err := getTrouble(tx)
		if err != nil {
			return err
		}
		if t == nil {
			t = &Trouble{Text: text, Since: now, Heads: map[uint32]uint64{}}
		}
		t.Heads[group] = max(t.Heads[group], head)
		all = *t
		return tx.Set(troubleKey(), t.encode())
	})
	return all, err
}

// ClearTrouble accepts the loss. Between the rollback and its proof entries may
// have got numbers that nodes had dealt with already, as other entries, and no
// one can tell now which. So the journals go on behind the lengths that were
// proved, trimmed up to there, and every node compares what it holds with what
// counts. Nothing should be written meanwhile.
func (s *Store) ClearTrouble(ctx context.Context) error {
	for {
		t, err := s.Trouble(ctx)
		if err != nil || t == nil {
			return err
		}
		for _, group := range sortedKeys(t.Heads) {
			if err := s.startOver(ctx, group, t.Heads[group]); err != nil {
				return err
			}
		}
		err = s.kv.Update(ctx, func(tx kv.Tx) error {
			if now, err := getTrouble(tx); err != nil || now == nil || !maps.Equal(now.Heads, t.Heads) {
				return err // more was proved meanwhile
			}
			return tx.Delete(troubleKey())
		})
		if err != nil {
			return err
		}
	}
}
