package shardstore

import (
	"errors"
	"slices"
)

// What the model does without a journal.

// resync has a group's journal grow and be trimmed before the store has read it.
// It is read so up to where it was trimmed, or further.
func (m *model) resync() {
	group := uint32(1 + m.rng.IntN(3))
	m.grow(group)
	head := uint64(len(m.journal[group]))
	base := m.rng.Uint64N(head + 1)
	m.compareTo(group, base, base+m.rng.Uint64N(head-base+1))
}

// rollback has the satellite lose the end of a journal, go on from there, and
// then behind where it was.
func (m *model) rollback() {
	group := uint32(1 + m.rng.IntN(3))
	lost := m.journal[group]
	m.journal[group] = slices.Clone(lost[:m.rng.IntN(len(lost)+1)])
	m.grow(group)
	for len(m.journal[group]) <= len(lost) {
		m.appendEntry(group, Entry{}) // filler
	}
	base := uint64(len(m.journal[group]))
	m.compareTo(group, base, base)
}

// compareTo has the store follow a journal that was trimmed to base.
func (m *model) compareTo(group uint32, base, to uint64) {
	for m.resyncTo(group, base, to) != nil {
		if m.rng.IntN(2) == 0 {
			m.crash()
		}
	}
	if now, err := m.store.Cursor(group); now < to || err != nil {
		m.t.Fatalf("cursor %d after resync to %d, %v", now, to, err)
	}
	m.check("advance", m.store.Advance(group, m.journal[group][to:]))
	m.settleGroup(group, base)
}

// grow appends to a journal what the store does not hear of yet.
func (m *model) grow(group uint32) {
	for range m.rng.IntN(12) {
		n := m.rng.Uint64N(m.next + 1)
		if n == m.next { // never to come, unless it is healed
			m.next++
			m.made = append(m.made, newSample(m.next, 64*(1+m.rng.IntN(100))))
		}
		switch s := m.made[n]; {
		case s.meta.Group != group || m.isBuried(s):
		case m.rng.IntN(3) > 0:
			m.appendLive(s)
		default:
			m.appendEntry(group, Entry{Segment: s.meta.Segment})
		}
	}
}

func (m *model) isBuried(s sample) bool {
	return slices.ContainsFunc(m.journal[s.meta.Group], func(e Entry) bool { return e.Segment == s.meta.Segment && !e.Live })
}

// resyncTo gives the store a journal that was trimmed up to base. Its disks may
// be full at any moment, or the satellite gone.
func (m *model) resyncTo(group uint32, base, to uint64) error {
	if m.rng.IntN(2) == 0 {
		m.calls.Store(2 + m.rng.Int64N(20))
	}
	defer m.calls.Store(0)
	left := m.trimmed(group, base, to)
	errGone := errors.New("the satellite is gone")
	err := m.store.Resync(group, to, func() ([]Entry, error) {
		if m.rng.IntN(10) == 0 {
			return nil, errGone
		}
		page := left[:min(len(left), 1+m.rng.IntN(10))]
		left = left[len(page):]
		return page, nil
	})
	if !errors.Is(err, ErrFull) && !errors.Is(err, errGone) {
		m.check("resync", err)
	}
	return err
}

// trimmed leaves out of a journal what does not count any more up to base:
// tombstones and what they bury, and some of the live entries that others have
// overtaken.
func (m *model) trimmed(group uint32, base, to uint64) []Entry {
	last, buried := make(map[Key]uint64), make(map[Key]bool)
	for _, e := range m.journal[group][:to] {
		key := Key{Segment: e.Segment}
		last[key] = e.Seq
		buried[key] = buried[key] || !e.Live && e.Seq <= base
	}
	var left []Entry
	for _, e := range m.journal[group][:to] {
		key := Key{Segment: e.Segment}
		if e.Seq > base || !buried[key] && (last[key] == e.Seq || m.rng.IntN(2) == 0) {
			left = append(left, e)
		}
	}
	return left
}

// settleGroup brings the model to the end of a journal that the store has read
// from base on, and before only knows what is live.
func (m *model) settleGroup(group uint32, base uint64) {
	last := make(map[Key]Entry)
	for _, e := range m.journal[group] {
		last[Key{Segment: e.Segment, Group: group}] = e
	}
	for n, s := range m.held {
		e, said := last[s.meta.Key]
		switch {
		case s.meta.Group != group || !said && s.seq == 0:
		case !said: // lost by the satellite
			delete(m.held, n)
		case e.Live:
			s.seq = e.Seq
		case s.seq != 0 || e.Seq > base:
			delete(m.held, n)
		}
	}
	m.read[group] = len(m.journal[group])
}

// release gives up a group and joins it again. The disks may be full at any
// moment.
func (m *model) release() {
	group := uint32(1 + m.rng.IntN(3))
	held, released := 0, 0
	for n, s := range m.held {
		if s.meta.Group == group {
			held++
			delete(m.held, n)
		}
	}
	for done := false; !done; {
		if m.rng.IntN(2) == 0 {
			m.calls.Store(2 + m.rng.Int64N(8))
		}
		n, err := m.store.Release(group)
		m.calls.Store(0)
		released += n
		if done = err == nil; !done && !errors.Is(err, ErrFull) {
			m.check("release", err)
		}
		if !done && m.rng.IntN(2) == 0 {
			m.crash()
		}
	}
	if released != held {
		m.t.Fatalf("released %d shards of %d", released, held)
	}
	groups, err := m.store.Groups()
	cursor, err2 := m.store.Cursor(group)
	if slices.Contains(groups, group) || cursor != 0 || err != nil || err2 != nil {
		m.t.Fatalf("released group %d: cursor %d, groups %v, %v, %v", group, cursor, groups, err, err2)
	}
	m.advance(group)
}

// rewind has all journals read again.
func (m *model) rewind() {
	m.check("rewind", m.store.Rewind())
	for group := range m.journal {
		m.advance(group)
	}
}
