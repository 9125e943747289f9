package meta

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cairnstorage/cairn/proto/ident"
	"github.com/cairnstorage/cairn/satellite/kv"
)

// claim writes the store's format and owner, or checks them.
func (s *Store) claim(ctx context.Context, id ident.ID) error {
	if id.IsZero() {
		return fmt.Errorf("%w: a store needs its satellite's identity", ErrInvalid)
	}
	want := append([]byte{formatVersion}, id[:]...)
	check := func(v []byte) error {
		switch {
		case len(v) == 0 || v[0] != formatVersion:
			return fmt.Errorf("%w: use the release that wrote it, or a newer one", ErrFormat)
		case string(v) != string(want):
			return fmt.Errorf("%w: put that satellite's identity back, or use another directory", ErrOtherSatellite)
		}
		return nil
	}
	err := s.kv.View(ctx, func(r kv.Reader) error {
		v, err := r.Get(formatKey())
		if err != nil {
			return err
		}
		return check(v)
	})
	if !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	return s.kv.Update(ctx, func(tx kv.Tx) error {
		v, err := tx.Get(formatKey())
		if errors.Is(err, kv.ErrNotFound) {
			return tx.Set(formatKey(), want)
		}
		if err != nil {
			return err
		}
		return check(v)
	})
}

// next gives out the next number of a counter, from 1.
func next(tx kv.Tx, counter string) (uint32, error) {
	n, err := getCounter(tx, counter)
	if err != nil {
		return 0, err
	}
	return n + 1, tx.Set(counterKey(counter), putUvarint(nil, uint64(n)+1))
}

func getCounter(r kv.Reader, counter string) (uint32, error) {
	v, err := r.Get(counterKey(counter))
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	d := decoder{b: v}
	n := d.u32()
	return n, d.done("counter " + counter)
}

// CreateProject makes a project and returns it with its number, secret and
// creation time filled in. Errors: ErrInvalid (name rules), ErrProjectExists.
func (s *Store) CreateProject(ctx context.Context, name string, salt, keyCheck [16]byte) (Project, error) {
	if err := checkProjectName(name); err != nil {
		return Project{}, err
	}
	p := Project{Name: name, Created: s.timestamp(), Salt: salt, KeyCheck: keyCheck}
	if _, err := io.ReadFull(s.rand, p.ID[:]); err != nil {
		return Project{}, err
	}
	if _, err := io.ReadFull(s.rand, p.Secret[:]); err != nil {
		return Project{}, err
	}
	err := s.kv.Update(ctx, func(tx kv.Tx) error {
		_, err := tx.Get(projectNameKey(name))
		if err == nil {
			return fmt.Errorf("%w: %q", ErrProjectExists, name)
		}
		if !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		n, err := next(tx, counterProject)
		if err != nil {
			return err
		}
		p.Number = ProjectNumber(n)
		if err := tx.Set(projectNameKey(name), p.ID[:]); err != nil {
			return err
		}
		return tx.Set(projectKey(p.ID), p.encode())
	})
	if err != nil {
		return Project{}, err
	}
	return p, nil
}

// checkProjectName allows printable ASCII without space, quotes and slashes,
// so that a name passes through shells and columns unharmed.
func checkProjectName(name string) error {
	ok := len(name) > 0 && len(name) <= MaxProjectName
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			c == '-' || c == '_' || c == '.' || c == '@' || c == '+')
	}
	if !ok {
		return fmt.Errorf("%w: project name %q: use 1 to %d of the letters A-Z a-z, digits and - _ . @ +",
			ErrInvalid, name, MaxProjectName)
	}
	return nil
}

// Project returns the project of an API key. Error: ErrProjectNotFound.
func (s *Store) Project(ctx context.Context, id ProjectID) (p Project, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		p, err = getProject(r, id)
		return err
	})
	return p, err
}

func getProject(r kv.Reader, id ProjectID) (Project, error) {
	v, err := r.Get(projectKey(id))
	if errors.Is(err, kv.ErrNotFound) {
		return Project{}, ErrProjectNotFound
	}
	if err != nil {
		return Project{}, err
	}
	return decodeProject(id, v)
}

// ProjectByName returns a project and what it holds. Error: ErrProjectNotFound.
func (s *Store) ProjectByName(ctx context.Context, name string) (p ProjectUsage, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		v, err := r.Get(projectNameKey(name))
		if errors.Is(err, kv.ErrNotFound) {
			return fmt.Errorf("%w: %q", ErrProjectNotFound, name)
		}
		if err != nil {
			return err
		}
		p, err = projectUsage(r, v)
		return err
	})
	return p, err
}

// Projects returns all projects by name.
func (s *Store) Projects(ctx context.Context) (projects []ProjectUsage, err error) {
	err = s.kv.View(ctx, func(r kv.Reader) error {
		projects, err = allProjects(r)
		return err
	})
	return projects, err
}

func allProjects(r kv.Reader) (projects []ProjectUsage, err error) {
	names := []byte{kindProjectName}
	for pair, err := range r.Scan(names, kv.PrefixEnd(names)) {
		if err != nil {
			return nil, err
		}
		p, err := projectUsage(r, pair.Value)
		if err != nil {
			return nil, err
		}
		projects = append(projects, p)
	}
	return projects, nil
}

// projectUsage reads the project that a name leads to and adds up its buckets.
func projectUsage(r kv.Reader, id []byte) (u ProjectUsage, err error) {
	var pid ProjectID
	if copy(pid[:], id) != len(pid) || len(id) != len(pid) {
		return u, fmt.Errorf("%w: project id %x", ErrDamaged, id)
	}
	if u.Project, err = getProject(r, pid); err != nil {
		return u, err
	}
	prefix := bucketsKey(u.Number)
	for pair, err := range r.Scan(prefix, kv.PrefixEnd(prefix)) {
		if err != nil {
			return u, err
		}
		b, err := decodeBucket(pair.Value)
		if err != nil {
			return u, err
		}
		u.Objects += b.usage.Objects
		u.Bytes += b.usage.Bytes
	}
	return u, nil
}
