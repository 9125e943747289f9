package meta

import (
	"time"

	"github.com/cairnstorage/cairn/satellite/kv"
)

// modelKeep is how long the model keeps tombstones: some of the leaps of an hour
// that the clock makes.
const modelKeep = 4 * time.Hour

// trimAll trims the journals, and rarely has a loss accepted first.
func (d *duel) trimAll() {
	if d.chance(2) {
		group := 1 + uint32(d.random.IntN(3))
		d.losses++
		d.must(ignore(d.AddTrouble(d.ctx, group, d.journal(group).Head+d.random.Uint64N(20), "lost")))
		d.must(d.ClearTrouble(d.ctx))
	}
	forget := d.chance(90)
	done, err := d.Trim(d.ctx, TrimRequest{Keep: modelKeep, Forget: forget})
	d.must(err)
	if done.Segments > 0 && !forget {
		d.t.Fatalf("forgot %d segments unasked", done.Segments)
	}
	d.forgetSegments(done.Segments)
}

// forgetSegments has the model forget as many segments as the store did, which
// must have been buried for long enough.
func (d *duel) forgetSegments(want int) {
	d.t.Helper()
	if want == 0 {
		return
	}
	d.must(d.kv.View(d.ctx, func(r kv.Reader) error {
		for id, s := range d.model.segments {
			if s.live {
				continue
			}
			if _, err := getRecord(r, id); !isNotFound(err) {
				if err != nil {
					return err
				}
				continue
			}
			if age := d.clock.Sub(s.buried); age < modelKeep {
				d.t.Fatalf("segment %s is forgotten after %v", id, age)
			}
			delete(d.model.segments, id)
			want--
		}
		return nil
	}))
	if want != 0 {
		d.t.Fatalf("%d segments more were forgotten than are gone", want)
	}
}

// follow has nodes read on, some of them often and others hardly ever.
func (d *duel) follow() {
	for i := range d.fast {
		switch n := d.random.IntN(3000); {
		case n < 60:
			d.fast[i].follow(1 + d.random.IntN(50))
			d.compareFollower(d.fast[i])
			if d.fast[i].resyns > 0 && d.losses == 0 {
				d.t.Fatalf("group %d: a node that is there had to compare what it has", i+1)
			}
		case n < 61:
			d.slow[i].follow(1 + d.random.IntN(50))
			d.compareFollower(d.slow[i])
		case n < 62:
			d.slow[i].step(1 + d.random.IntN(50))
		}
	}
}

// compareFollower compares what a node ends with that has followed a journal
// with what the model says is live.
func (d *duel) compareFollower(f *follower) {
	d.t.Helper()
	want := 0
	for id, s := range d.model.segments {
		if s.Group != f.group || !s.live {
			continue
		}
		if want++; f.live[id].Root != s.Root {
			d.t.Fatalf("group %d: a node that compared %d times lacks %s", f.group, f.resyns, id)
		}
	}
	if len(f.live) != want {
		d.t.Fatalf("group %d: a node that compared %d times has %d segments, and %d are live", f.group, f.resyns, len(f.live), want)
	}
}
