package audit

// Plea is how things stand with a shard that a node says it lacks, once it has
// said so. Between the draw of a challenge and its answer the journal, the
// claim and the group may have moved on, and that is not the node's fault.
type Plea struct {
	// Holds: the node has the slot still, or is still to take it over.
	Holds bool
	// Counts: the entry is live still, with no tombstone behind it.
	Counts bool
	// Named is which claim the node says was in force when it answered.
	Named Named
	// Covers: the newest claim that the satellite has covers the entry. The one
	// that the challenge was drawn from did.
	Covers bool
	// Excused: the node has told of a loss too late before, see ToldLate.
	Excused bool
}

// Named is which claim an answer names.
type Named uint8

const (
	// NamedNone: the node does not know of such a live entry.
	NamedNone Named = iota
	// NamedDrawn: the one that the challenge was drawn from.
	NamedDrawn
	// NamedNewest: a later one, which the satellite has.
	NamedNewest
	// NamedUnknown: one that the satellite does not have, or not yet.
	NamedUnknown
)

// Judgement is what becomes of a plea.
type Judgement uint8

const (
	// Guilty: the shard is missing although the node claims it.
	Guilty Judgement = iota
	// Innocent: the node need not have it.
	Innocent
	// ToldLate: the node says by a later claim that it lacks the shard, and told
	// so while it was asked. For an honest node that is a rare coincidence, and
	// one such audit is forgiven: in any LossWindow, or losses could be told just
	// when they are asked for.
	ToldLate
	// Unclear: it says so by a claim that has not come. The challenge stays owed.
	Unclear
)

// Judge decides a plea.
func (p Plea) Judge() Judgement {
	switch {
	case !p.Holds || !p.Counts:
		return Innocent
	case p.Named == NamedUnknown:
		return Unclear
	case p.Named == NamedDrawn:
		return Guilty // by its own word: it claimed the shard even as it answered
	case p.Covers:
		return Guilty
	case p.Excused:
		return Guilty
	}
	return ToldLate
}
