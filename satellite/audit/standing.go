package audit

import (
	"errors"
	"fmt"
	"time"
)

// ErrOver is returned when a node is to be disqualified that is so already, or
// has left.
var ErrOver = errors.New("the node holds nothing that counts any more")

// ErrNotDisqualified is returned when a node is to be reinstated that may
// store data as it is, or that has left.
var ErrNotDisqualified = errors.New("the node is not disqualified")

// State is what a node may do in the network. The numbers are those of the
// wire (NodeState), and are kept. The zero state is that of a node not met yet.
type State uint8

const (
	// Vetting: new, given little data until it has proved enough of it.
	Vetting State = 1
	// Online: as it should be.
	Online State = 2
	// Suspended: away for longer than grace, or in debt of answers for as
	// long. It gets no new data, and back it is as before; see Silences.
	Suspended State = 3
	// Disqualified: has lost data. Only the satellite's operator undoes it.
	Disqualified State = 4
	// Exiting: asked to leave and is handing over its slots.
	Exiting State = 5
	// Gone: has left, with everything handed over. That is final.
	Gone State = 6
)

var stateNames = [...]string{"unknown", "vetting", "online", "suspended", "disqualified", "exiting", "gone"}

func (s State) String() string {
	if int(s) >= len(stateNames) {
		return fmt.Sprintf("state %d", uint8(s))
	}
	return stateNames[s]
}

// MarshalText is String, for JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText undoes MarshalText.
func (s *State) UnmarshalText(text []byte) error {
	for state, name := range stateNames {
		if name == string(text) {
			*s = State(state)
			return nil
		}
	}
	return fmt.Errorf("%q is no state of a node", text)
}

// TakesData reports whether the node may be given new data.
func (s State) TakesData() bool { return s == Vetting || s == Online }

// Counts reports whether what the node holds still counts for redundancy,
// while it is there. The slots of one that does not count need other holders.
func (s State) Counts() bool { return s != Disqualified && s != Gone }

// Standing is what a satellite thinks of a node. The zero value is that of one
// it has just met. It is a value and is kept by storing its fields.
type Standing struct {
	State    State
	Reason   string    // for State, in one line, for operators
	Since    time.Time // of State
	Score    Score
	Presence Presence
	Silences Silences
}

// Rule says what is asked of nodes.
type Rule struct {
	// Grace is for how long a node may be away.
	Grace time.Duration
	// Vetting is how many challenges a new node must prove; a small network,
	// whose nodes know each other, asks for none.
	Vetting uint64
}

// Facts are what a satellite has seen of a node up to now. Times are zero for
// what has not happened.
type Facts struct {
	Now         time.Time
	FirstSeen   time.Time
	LastPresent time.Time // checked in, and could be reached
	// Owed is when the oldest of the challenges that the node still has to
	// answer was first put. They are put again until they are answered, or the
	// node has ceased to claim what they ask for: else it could keep silent on
	// just what it has lost.
	Owed time.Time
	// Answered: since it was suspended the node has answered something, with
	// other words than that it cannot look; and this satellite remembers.
	Answered bool
	// Listening is since when the satellite itself has been up. Nobody is
	// blamed for an absence that nobody watched.
	Listening time.Time
	// ExitAsked and ExitCompleted: the node wants to leave, and all its slots
	// are handed over.
	ExitAsked, ExitCompleted bool
}

// Next returns a node's standing after new facts, and whether its state is
// another. It takes one step at a time: a satellite calls it again and again.
func (s Standing) Next(rule Rule, facts Facts) (Standing, bool) {
	state, reason := s.next(rule, facts)
	if state == s.State {
		return s, false
	}
	switch {
	case state == Suspended && !facts.Owed.IsZero():
		s.Silences = s.Silences.begin(facts.Now)
		reason += s.Silences.terms(rule)
	case s.MustAnswer():
		s.Silences = s.Silences.end(facts.Now)
	}
	s.State, s.Reason, s.Since = state, reason, facts.Now
	return s, true
}

// MustAnswer reports whether the node was suspended while it owed answers, and is
// not back before it has answered something.
func (s Standing) MustAnswer() bool { return s.State == Suspended && s.Silences.Open }

// next decides what s becomes, and why if that is another state. What comes
// first weighs most.
func (s Standing) next(rule Rule, facts Facts) (State, string) {
	switch {
	case s.State == 0:
		return Vetting, "new"
	case s.State == Gone || s.State == Disqualified:
		return s.State, ""
	case s.Score.Condemns():
		return Disqualified, s.Score.guilt()
	case s.State == Exiting && facts.ExitCompleted:
		return Gone, "left: all its slots are handed over"
	case s.State == Exiting:
		return Exiting, ""
	case facts.ExitAsked:
		return Exiting, "asked to leave"
	}
	if failing := absence(rule, facts); failing != "" {
		return Suspended, failing
	}
	if s.State == Suspended && s.Silences.lasts(rule, facts) {
		return Suspended, ""
	}
	return s.present(rule, facts)
}

// present is the state of a node that is there and does as it should.
func (s Standing) present(rule Rule, facts Facts) (State, string) {
	vetted := s.Score.Proved >= rule.Vetting
	switch {
	case s.State == Suspended && vetted:
		return Online, s.back(facts)
	case s.State == Suspended:
		return Vetting, s.back(facts)
	case s.State == Vetting && vetted && rule.Vetting == 0:
		return Online, "there, and no vetting is asked for"
	case s.State == Vetting && vetted:
		return Online, fmt.Sprintf("vetted: %d challenges proved in %v", s.Score.Proved, elapsed(facts.FirstSeen, facts.Now))
	}
	return s.State, "" // also a node that was vetted when less was asked for
}

func (s Standing) back(facts Facts) string {
	return fmt.Sprintf("back after %v of suspension, with its score kept", elapsed(s.Since, facts.Now))
}

// absence says in words what a node is to be suspended for; nothing if it is
// not.
func absence(rule Rule, facts Facts) string {
	seen := latest(facts.LastPresent, facts.FirstSeen, facts.Listening)
	if facts.Now.Sub(seen) > rule.Grace {
		return fmt.Sprintf("away for %v, longer than the grace of %v", elapsed(seen, facts.Now), rule.Grace)
	}
	asked := latest(facts.Owed, facts.Listening)
	if !facts.Owed.IsZero() && facts.Now.Sub(asked) > rule.Grace {
		return fmt.Sprintf("has owed answers for %v, longer than the grace of %v", elapsed(asked, facts.Now), rule.Grace)
	}
	return ""
}

// guilt says in words what a score condemns for.
func (s Score) guilt() string {
	return fmt.Sprintf("lost data: of %d challenges %d found it missing and %d got a wrong proof", s.Challenges(), s.Missing, s.Wrong)
}

// Reinstate returns the standing of a node that the operator forgives: as a
// new one's, but for what is known of its presence. Any other node's is
// ErrNotDisqualified.
func (s Standing) Reinstate(now time.Time) (Standing, error) {
	if s.State != Disqualified {
		return s, fmt.Errorf("%w, it is %v", ErrNotDisqualified, s.State)
	}
	return Standing{State: Vetting, Reason: "reinstated by the operator: vetted anew", Since: now, Presence: s.Presence}, nil
}

// Disqualify returns the standing of a node that the operator bars, with the
// operator's reason. That of a node that is barred or has left is ErrOver.
func (s Standing) Disqualify(reason string, now time.Time) (Standing, error) {
	if !s.State.Counts() {
		return s, fmt.Errorf("%w, it is %v", ErrOver, s.State)
	}
	s.State, s.Reason, s.Since = Disqualified, "by the operator: "+reason, now
	return s, nil
}

func latest(times ...time.Time) (last time.Time) {
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// elapsed is a duration as people want to read it.
func elapsed(from, to time.Time) time.Duration { return to.Sub(from).Round(time.Second) }
