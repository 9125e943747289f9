package bound

import (
	"errors"
	"fmt"
	"time"

	"github.com/cairnstorage/cairn/proto/erasure"
)

// warmUp is how many times as long is written in the round that does not count.
// What the later ones write then fits into memory that the files had before.
const warmUp = 10

// A Meter measures all parts, each by itself on all cores, round after round. It is
// for one goroutine.
type Meter struct {
	config  Config
	stripes []*stripe
	far     *farEnds
	disks   []*disk
	program *program

	bytes       map[string][]spent // by the step's name
	send, fetch []spent
	write, read [][]spent // by directory
	up, down    [][]spent // together, by directory
}

// NewMeter makes a Meter, which keeps processes and files until it is closed. It
// measures one round that does not count: what a process does for the first time,
// and memory that nobody had for a while, cost much more.
func NewMeter(c Config) (*Meter, error) {
	m := &Meter{config: c}
	if err := m.open(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	m.forget()
	if err := m.measure(warmUp * c.Duration); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	m.forget()
	return m, nil
}

func (m *Meter) open() error {
	coder, err := erasure.NewCoder(m.config.Scheme.Required, m.config.Scheme.Total)
	if err != nil {
		return err
	}
	for range m.config.Cores {
		m.stripes = append(m.stripes, newStripe(coder))
	}
	for _, dir := range m.config.Dirs {
		d, err := newDisk(dir, m.config.Scheme)
		if err != nil {
			return fmt.Errorf("write to %s: %w", dir, err)
		}
		m.disks = append(m.disks, d)
	}
	if m.far, err = newFarEnds(m.config.Spawn, m.config.Scheme.Total); err != nil {
		return fmt.Errorf("start far ends: %w", err)
	}
	m.program = newProgram(m.far, m.stripes, m.config.Together)
	return nil
}

// Close ends the processes and removes the files.
func (m *Meter) Close() error {
	if m.far != nil {
		m.far.close()
	}
	var failures []error
	for _, d := range m.disks {
		failures = append(failures, d.close())
	}
	return errors.Join(failures...)
}

// forget drops what was measured.
func (m *Meter) forget() {
	m.bytes = make(map[string][]spent)
	m.send, m.fetch = nil, nil
	for _, all := range []*[][]spent{&m.write, &m.read, &m.up, &m.down} {
		*all = make([][]spent, len(m.config.Dirs))
	}
}

// Round measures every part once.
func (m *Meter) Round() error { return m.measure(m.config.Duration) }

// measure measures every part once, and writes for so long.
func (m *Meter) measure(writing time.Duration) error {
	if err := m.measureBytes(); err != nil {
		return err
	}
	if err := m.measureTransport(); err != nil {
		return err
	}
	for i, dir := range m.config.Dirs {
		if err := m.measureDisk(i, writing); err != nil {
			return fmt.Errorf("write to %s: %w", dir, err)
		}
		if err := m.measureTogether(i); err != nil {
			return fmt.Errorf("all together in %s: %w", dir, err)
		}
	}
	return nil
}

// Places is what the rounds so far, of which there is at least one, have come to:
// the medians of each part.
func (m *Meter) Places() []Place {
	places := make([]Place, len(m.config.Dirs))
	for i := range places {
		places[i] = m.place(i)
	}
	return places
}

func (m *Meter) measureBytes() error {
	for _, step := range steps {
		// They wait for nothing, so that little time tells enough.
		s, err := atOnce(m.stripes, m.config.Duration/4, func(s *stripe, until time.Time) (int64, error) {
			return s.repeat(until, step.do)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		m.bytes[step.name] = append(m.bytes[step.name], s)
	}
	return nil
}

func (m *Meter) measureTransport() error {
	sent, err := m.far.move(m.config.Scheme.Total, takeProtocol, m.config.Duration)
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	fetched, err := m.far.move(m.config.Scheme.Required, giveProtocol, m.config.Duration)
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	m.send, m.fetch = append(m.send, sent), append(m.fetch, fetched)
	return nil
}

func (m *Meter) measureDisk(i int, writing time.Duration) error {
	written, err := m.disks[i].write(writing)
	if err != nil {
		return err
	}
	got, err := m.disks[i].read(m.config.Scheme.Required, m.config.Duration/4)
	if err != nil {
		return err
	}
	m.write[i], m.read[i] = append(m.write[i], written), append(m.read[i], got)
	return nil
}

func (m *Meter) measureTogether(i int) error {
	up, err := m.program.upload(i)
	if err != nil {
		return err
	}
	down, err := m.program.download(i)
	if err != nil {
		return err
	}
	m.up[i], m.down[i] = append(m.up[i], up), append(m.down[i], down)
	return nil
}

// place is what was measured for one directory.
func (m *Meter) place(i int) Place {
	expansion := float64(m.config.Scheme.Total) / float64(m.config.Scheme.Required)
	step := func(name string) Part { return part(name, m.bytes[name], 1) }
	down := []Part{part(PartRead, m.read[i], 1), part(PartTransport, m.fetch, 1)}
	return Place{
		Dir: m.config.Dirs[i],
		Upload: Work{
			Parts: []Part{
				step(PartSeal), step(PartCode), step(PartHash), part(PartTransport, m.send, expansion),
				step(PartReceiver), part(PartWrite, m.write[i], expansion),
			},
			Disk:     median(m.write[i], spent.rate) / expansion,
			Together: part(partsTogether, m.up[i], 1),
		},
		Download: Work{Parts: append(down[:2:2], step(PartOpen)), Together: part(partsTogether, m.down[i], 1)},
		Degraded: Work{Parts: append(down[:2:2], step(PartDecode), step(PartOpen))},
	}
}
