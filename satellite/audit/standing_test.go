package audit

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cairnstorage/cairn/proto/pb"
)

var rule = Rule{Grace: 4 * time.Hour, Vetting: 100}

// calm are the facts of a node that is there, asked for nothing and owes
// nothing.
var calm = Facts{
	Now: start, FirstSeen: start.Add(-90 * 24 * time.Hour), LastPresent: start.Add(-time.Second),
	Listening: start.Add(-30 * 24 * time.Hour),
}

func with(change func(*Facts)) Facts {
	f := calm
	change(&f)
	return f
}

var (
	away      = with(func(f *Facts) { f.LastPresent = start.Add(-5 * time.Hour) })
	owing     = with(func(f *Facts) { f.Owed = start.Add(-6 * time.Hour) })
	leaving   = with(func(f *Facts) { f.ExitAsked = true })
	left      = with(func(f *Facts) { f.ExitAsked, f.ExitCompleted = true, true })
	leftAway  = with(func(f *Facts) { f.ExitAsked, f.ExitCompleted, f.LastPresent = true, true, away.LastPresent })
	goingAway = with(func(f *Facts) { f.ExitAsked, f.LastPresent = true, away.LastPresent })
)

var (
	few     = Score{}.Add(repeat(Proved, 99)...)
	enough  = Score{}.Add(repeat(Proved, 100)...)
	guilty  = enough.Add(repeat(Missing, 6)...)
	guiltyN = Score{}.Add(Wrong, Wrong)
)

// TestTransitions has every state under every kind of facts.
func TestTransitions(t *testing.T) {
	const lost = "lost data: of 106 challenges 6 found it missing and 0 got a wrong proof"
	const gone, goes = "left: all its slots are handed over", "asked to leave"
	const absent, silent = "away for 5h0m0s, longer than the grace of 4h0m0s", "has owed answers for 6h0m0s, longer than the grace of 4h0m0s; it has to answer first"
	const back = "back after 2h0m0s of suspension, with its score kept"
	const vetted = "vetted: 100 challenges proved in 2160h0m0s"
	type next struct {
		state  State
		reason string // "" when the state stays
	}
	for _, c := range []struct {
		name  string
		score Score
		facts Facts
		want  [6]next // by state, in the order of their numbers
	}{
		{"calm, few proofs", few, calm, [6]next{{Vetting, ""}, {Online, ""}, {Vetting, back}, {Disqualified, ""}, {Exiting, ""}, {Gone, ""}}},
		{"calm", enough, calm, [6]next{{Online, vetted}, {Online, ""}, {Online, back}, {Disqualified, ""}, {Exiting, ""}, {Gone, ""}}},
		{"away", enough, away, [6]next{{Suspended, absent}, {Suspended, absent}, {Suspended, ""}, {Disqualified, ""}, {Exiting, ""}, {Gone, ""}}},
		{"away, few proofs", few, away, [6]next{{Suspended, absent}, {Suspended, absent}, {Suspended, ""}, {Disqualified, ""}, {Exiting, ""}, {Gone, ""}}},
		{"owing", enough, owing, [6]next{{Suspended, silent}, {Suspended, silent}, {Suspended, ""}, {Disqualified, ""}, {Exiting, ""}, {Gone, ""}}},
		{"leaving", enough, leaving, [6]next{{Exiting, goes}, {Exiting, goes}, {Exiting, goes}, {Disqualified, ""}, {Exiting, ""}, {Gone, ""}}},
		{"leaving, away", few, goingAway, [6]next{{Exiting, goes}, {Exiting, goes}, {Exiting, goes}, {Disqualified, ""}, {Exiting, ""}, {Gone, ""}}},
		{"left", enough, left, [6]next{{Exiting, goes}, {Exiting, goes}, {Exiting, goes}, {Disqualified, ""}, {Gone, gone}, {Gone, ""}}},
		{"left, away", few, leftAway, [6]next{{Exiting, goes}, {Exiting, goes}, {Exiting, goes}, {Disqualified, ""}, {Gone, gone}, {Gone, ""}}},
		{"guilty", guilty, calm, [6]next{{Disqualified, lost}, {Disqualified, lost}, {Disqualified, lost}, {Disqualified, ""}, {Disqualified, lost}, {Gone, ""}}},
		{"guilty, away", guilty, away, [6]next{{Disqualified, lost}, {Disqualified, lost}, {Disqualified, lost}, {Disqualified, ""}, {Disqualified, lost}, {Gone, ""}}},
		{"guilty, left", guilty, left, [6]next{{Disqualified, lost}, {Disqualified, lost}, {Disqualified, lost}, {Disqualified, ""}, {Disqualified, lost}, {Gone, ""}}},
	} {
		for state, want := range c.want {
			before := Standing{State: State(state + 1), Reason: "before", Since: start.Add(-2 * time.Hour), Score: c.score}
			after, changed := before.Next(rule, c.facts)
			expected := before
			if want.reason != "" {
				expected.State, expected.Reason, expected.Since = want.state, want.reason, start
				if want.reason == silent {
					expected.Silences = Silences{Count: 1, Last: start, Open: true}
				}
			}
			if after != expected || after.State != want.state || changed != (want.reason != "") {
				t.Errorf("%v, %s: %+v %v, want %+v", before.State, c.name, after, changed, expected)
			}
		}
	}
}

func TestGuilt(t *testing.T) {
	after, _ := Standing{State: Online, Score: guiltyN}.Next(rule, calm)
	if want := "lost data: of 2 challenges 0 found it missing and 2 got a wrong proof"; after.Reason != want {
		t.Errorf("reason %q, want %q", after.Reason, want)
	}
}

func TestNewNode(t *testing.T) {
	met := Facts{Now: start, FirstSeen: start, LastPresent: start, Listening: start}
	want := Standing{State: Vetting, Reason: "new", Since: start}
	s, changed := Standing{}.Next(rule, met)
	if !changed || s != want {
		t.Errorf("a new node: %+v", s)
	}
	if again, changed := s.Next(rule, met); changed || again != want {
		t.Errorf("a new node, once more: %+v", again)
	}
	want.State, want.Reason = Online, "there, and no vetting is asked for"
	if next, changed := s.Next(Rule{Grace: time.Hour}, met); !changed || next != want {
		t.Errorf("a new node of a small network: %+v", next)
	}
}

// TestGrace: longer than grace is away, exactly as long is not, and what nobody
// watched is not held against anybody.
func TestGrace(t *testing.T) {
	ago := func(d time.Duration) time.Time { return start.Add(-d) }
	const grace, tick = 4 * time.Hour, time.Nanosecond
	for name, c := range map[string]struct {
		change func(*Facts)
		want   State
	}{
		"away as long as grace":        {func(f *Facts) { f.LastPresent = ago(grace) }, Online},
		"away longer":                  {func(f *Facts) { f.LastPresent = ago(grace + tick) }, Suspended},
		"satellite just up":            {func(f *Facts) { f.LastPresent, f.Listening = ago(99*grace), ago(tick) }, Online},
		"up as long as grace":          {func(f *Facts) { f.LastPresent, f.Listening = ago(99*grace), ago(grace) }, Online},
		"up longer":                    {func(f *Facts) { f.LastPresent, f.Listening = ago(99*grace), ago(grace+tick) }, Suspended},
		"never there, just seen":       {func(f *Facts) { f.LastPresent, f.FirstSeen = time.Time{}, ago(grace) }, Online},
		"never there":                  {func(f *Facts) { f.LastPresent, f.FirstSeen = time.Time{}, ago(grace+tick) }, Suspended},
		"ahead of the clock":           {func(f *Facts) { f.LastPresent = ago(-grace) }, Online},
		"owing as long as grace":       {func(f *Facts) { f.Owed = ago(grace) }, Online},
		"owing longer":                 {func(f *Facts) { f.Owed = ago(grace + tick) }, Suspended},
		"owing since before it was up": {func(f *Facts) { f.Owed, f.Listening = ago(99*grace), ago(grace) }, Online},
		"nothing known":                {func(f *Facts) { *f = Facts{Now: start} }, Suspended},
	} {
		if s, _ := (Standing{State: Online, Score: enough}).Next(rule, with(c.change)); s.State != c.want {
			t.Errorf("%s: %v (%s), want %v", name, s.State, s.Reason, c.want)
		}
	}
}

// TestReturn suspends a node and has it back: it has lost nothing by it.
func TestReturn(t *testing.T) {
	for _, c := range []struct {
		score Score
		want  State
	}{{few, Vetting}, {enough, Online}} {
		before := Standing{State: c.want, Since: start.Add(-time.Hour), Score: c.score, Presence: Presence{}.Watch(start, time.Hour, true)}
		suspended, _ := before.Next(rule, away)
		returned, changed := suspended.Next(rule, calm)
		if suspended.State != Suspended || !changed || returned.State != c.want ||
			returned.Score != before.Score || returned.Presence != before.Presence {
			t.Errorf("%+v is suspended as %+v and back as %+v", before, suspended, returned)
		}
	}
}

func TestReinstate(t *testing.T) {
	presence := Presence{}.Watch(start, time.Hour, true)
	for state := Vetting; state <= Gone; state++ {
		before := Standing{State: state, Since: start.Add(-time.Hour), Score: guilty, Presence: presence}
		after, err := before.Reinstate(start)
		if state != Disqualified {
			if !errors.Is(err, ErrNotDisqualified) || after != before {
				t.Errorf("%v: %+v %v", state, after, err)
			}
			continue
		}
		want := Standing{State: Vetting, Reason: "reinstated by the operator: vetted anew", Since: start, Presence: presence}
		if err != nil || after != want {
			t.Errorf("%+v %v, want %+v", after, err, want)
		}
		if next, changed := after.Next(rule, calm); changed || next != want {
			t.Errorf("after being reinstated: %+v", next)
		}
	}
}

// TestLives lives many lives of random facts and checks what must be true of
// each step.
func TestLives(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	steps := map[State][]State{
		0:       {Vetting},
		Vetting: {Online, Suspended, Disqualified, Exiting}, Online: {Suspended, Disqualified, Exiting},
		Suspended: {Vetting, Online, Disqualified, Exiting}, Exiting: {Disqualified, Gone},
	}
	taken := map[[2]State]bool{}
	for range 2000 {
		var s Standing
		facts := Facts{Now: start, FirstSeen: start, LastPresent: start}
		for range 200 {
			facts.Now = facts.Now.Add(time.Duration(random.Int64N(int64(3 * time.Hour))))
			if random.IntN(3) > 0 {
				facts.LastPresent = facts.Now
			}
			facts.Owed = time.Time{}
			if random.IntN(3) == 0 {
				facts.Owed = facts.Now.Add(-time.Duration(random.Int64N(int64(6 * time.Hour))))
			}
			facts.Answered = random.IntN(2) == 0
			facts.ExitAsked = facts.ExitAsked || random.IntN(300) == 0
			facts.ExitCompleted = facts.ExitAsked && random.IntN(20) == 0
			s.Score = s.Score.Add([]Verdict{Proved, Proved, Proved, Missing, Late}[random.IntN(5)])
			after, changed := s.Next(Rule{Grace: 4 * time.Hour, Vetting: 10}, facts)
			checkStep(t, s, after, changed, steps)
			taken[[2]State{s.State, after.State}] = true
			s = after
		}
	}
	for from, all := range steps {
		for _, to := range all {
			if !taken[[2]State{from, to}] {
				t.Errorf("no life went from %v to %v", from, to)
			}
		}
	}
}

func checkStep(t *testing.T, before, after Standing, changed bool, steps map[State][]State) {
	t.Helper()
	if after.Score != before.Score || after.Presence != before.Presence {
		t.Fatalf("%+v became %+v: scores changed", before, after)
	}
	if changed != (before.State != after.State) {
		t.Fatalf("%v became %v: changed is %v", before.State, after.State, changed)
	}
	if (after.State == Disqualified) != before.Score.Condemns() && before.State != Gone && after.State != Gone {
		t.Fatalf("%+v became %+v", before, after)
	}
	if !changed {
		if after != before {
			t.Fatalf("%+v became %+v, and is said not to have changed", before, after)
		}
		return
	}
	if before.State == Suspended && before.Silences.Open == after.Silences.Open && after.State.TakesData() && before.Silences.Open {
		t.Fatalf("%+v is back as %+v", before, after)
	}
	allowed := false
	for _, to := range steps[before.State] {
		allowed = allowed || to == after.State
	}
	if !allowed || after.Reason == "" || strings.ContainsAny(after.Reason, "\n") || len(after.Reason) > 120 {
		t.Fatalf("%v became %v for %q", before.State, after.State, after.Reason)
	}
}

func TestStates(t *testing.T) {
	for _, c := range []struct {
		state         State
		name          string
		takes, counts bool
	}{
		{Vetting, "vetting", true, true}, {Online, "online", true, true}, {Suspended, "suspended", false, true},
		{Disqualified, "disqualified", false, false}, {Exiting, "exiting", false, true}, {Gone, "gone", false, false},
		{0, "unknown", false, true}, {7, "state 7", false, true},
	} {
		if c.state.String() != c.name || c.state.TakesData() != c.takes || c.state.Counts() != c.counts {
			t.Errorf("%v takes data: %v, counts: %v", c.state, c.state.TakesData(), c.state.Counts())
		}
	}
	for state := Vetting; state <= Gone; state++ {
		want := "NODE_STATE_" + strings.ToUpper(state.String())
		if got := pb.NodeState(state).String(); got != want {
			t.Errorf("%v is %s on the wire, want %s", state, got, want)
		}
	}
	if text, err := Gone.MarshalText(); string(text) != "gone" || err != nil {
		t.Errorf("gone is written as %q: %v", text, err)
	}
	var s State
	if err := s.UnmarshalText([]byte("asleep")); err == nil {
		t.Error("asleep is a state")
	}
}

func TestStandingIsAValue(t *testing.T) {
	before := Standing{
		State: Exiting, Reason: "asked to leave", Since: start, Score: guilty,
		Presence: Presence{}.Watch(start, time.Hour, true).Add(start, Proved, Late),
	}
	text, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"State":"exiting"`) {
		t.Errorf("written as %s", text)
	}
	var back Standing
	if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, before) {
		t.Errorf("%s is read as %+v: %v", text, back, err)
	}
}

func TestDisqualify(t *testing.T) {
	now := start.Add(time.Hour)
	for state := State(0); state <= Gone; state++ {
		before := Standing{State: state, Reason: "because", Since: start, Score: Score{Proved: 5}}
		after, err := before.Disqualify("sold", now)
		if state == Disqualified || state == Gone {
			if !errors.Is(err, ErrOver) || !reflect.DeepEqual(after, before) {
				t.Errorf("%v: %+v, %v", state, after, err)
			}
			continue
		}
		want := Standing{State: Disqualified, Reason: "by the operator: sold", Since: now, Score: before.Score}
		if err != nil || !reflect.DeepEqual(after, want) {
			t.Errorf("%v: %+v, %v", state, after, err)
		}
	}
}
