package bound

import (
	"fmt"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
)

// bench is all that is measured, and what came out of it so far.
type bench struct {
	config  Config
	stripes []*stripe
	far     *farEnds
	disks   []*disk

	bytes       map[string][]spent // by the step's name
	send, fetch []spent
	write, read [][]spent // by directory
}

func newBench(c Config) (*bench, error) {
	coder, err := erasure.NewCoder(c.Scheme.Required, c.Scheme.Total)
	if err != nil {
		return nil, err
	}
	b := &bench{config: c}
	b.forget()
	for range c.Cores {
		b.stripes = append(b.stripes, newStripe(coder))
	}
	for _, dir := range c.Dirs {
		d, err := newDisk(dir, c.Scheme)
		if err != nil {
			b.close()
			return nil, fmt.Errorf("write to %s: %w", dir, err)
		}
		b.disks = append(b.disks, d)
	}
	if b.far, err = newFarEnds(c.Spawn, c.Scheme.Total); err != nil {
		b.close()
		return nil, fmt.Errorf("start far ends: %w", err)
	}
	return b, nil
}

func (b *bench) close() {
	if b.far != nil {
		b.far.close()
	}
	for _, d := range b.disks {
		d.close()
	}
}

// forget drops what was measured.
func (b *bench) forget() {
	b.bytes = make(map[string][]spent)
	b.send, b.fetch = nil, nil
	b.write, b.read = make([][]spent, len(b.config.Dirs)), make([][]spent, len(b.config.Dirs))
}

// measure measures every part once, and writes for so long.
func (b *bench) measure(writing time.Duration) error {
	if err := b.measureBytes(); err != nil {
		return err
	}
	if err := b.measureTransport(); err != nil {
		return err
	}
	for i, dir := range b.config.Dirs {
		if err := b.measureDisk(i, writing); err != nil {
			return fmt.Errorf("write to %s: %w", dir, err)
		}
	}
	return nil
}

func (b *bench) measureBytes() error {
	for _, step := range steps {
		// They wait for nothing, so that little time tells enough.
		s, err := atOnce(b.stripes, b.config.Duration/4, func(s *stripe, until time.Time) (int64, error) {
			return s.repeat(until, step.do)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		b.bytes[step.name] = append(b.bytes[step.name], s)
	}
	return nil
}

func (b *bench) measureTransport() error {
	sent, err := b.far.move(b.config.Scheme.Total, takeProtocol, b.config.Duration)
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	fetched, err := b.far.move(b.config.Scheme.Required, giveProtocol, b.config.Duration)
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	b.send, b.fetch = append(b.send, sent), append(b.fetch, fetched)
	return nil
}

func (b *bench) measureDisk(i int, writing time.Duration) error {
	written, err := b.disks[i].write(writing)
	if err != nil {
		return err
	}
	got, err := b.disks[i].read(b.config.Scheme.Required, b.config.Duration/4)
	if err != nil {
		return err
	}
	b.write[i], b.read[i] = append(b.write[i], written), append(b.read[i], got)
	return nil
}

// place is what was measured for one directory.
func (b *bench) place(i int) Place {
	expansion := float64(b.config.Scheme.Total) / float64(b.config.Scheme.Required)
	step := func(name string) Part { return part(name, b.bytes[name], 1) }
	down := []Part{part(PartRead, b.read[i], 1), part(PartTransport, b.fetch, 1)}
	return Place{
		Dir: b.config.Dirs[i],
		Upload: Work{
			Parts: []Part{
				step(PartSeal), step(PartCode), step(PartHash), part(PartTransport, b.send, expansion),
				step(PartReceiver), part(PartWrite, b.write[i], expansion),
			},
			Disk: median(b.write[i], spent.rate) / expansion,
		},
		Download: Work{Parts: append(down[:2:2], step(PartOpen))},
		Degraded: Work{Parts: append(down[:2:2], step(PartDecode), step(PartOpen))},
	}
}
