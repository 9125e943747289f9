package audit

import "testing"

func TestPleas(t *testing.T) {
	for _, test := range []struct {
		name string
		plea Plea
		want Judgement
	}{
		{"it says itself that it claimed it", Plea{Holds: true, Counts: true, Named: NamedDrawn, Covers: true}, Guilty},
		{"and takes the claim back while it answers", Plea{Holds: true, Counts: true, Named: NamedDrawn}, Guilty},
		{"by a later claim it should have it, too", Plea{Holds: true, Counts: true, Named: NamedNewest, Covers: true}, Guilty},
		{"it claims an entry that it does not know", Plea{Holds: true, Counts: true, Covers: true}, Guilty},
		{"it told of the loss meanwhile", Plea{Holds: true, Counts: true, Named: NamedNewest}, ToldLate},
		{"it told of the loss meanwhile and forgot the entry", Plea{Holds: true, Counts: true}, ToldLate},
		{"it tells of losses when asked", Plea{Holds: true, Counts: true, Named: NamedNewest, Excused: true}, Guilty},
		{"its claim is on the way", Plea{Holds: true, Counts: true, Named: NamedUnknown, Covers: true}, Unclear},
		{"its claim is on the way for the second time", Plea{Holds: true, Counts: true, Named: NamedUnknown, Excused: true}, Unclear},
	} {
		if got := test.plea.Judge(); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
		for _, moved := range []func(*Plea){
			func(p *Plea) { p.Holds = false }, func(p *Plea) { p.Counts = false }, func(p *Plea) { p.Holds, p.Counts = false, false },
		} {
			p := test.plea
			moved(&p)
			if got := p.Judge(); got != Innocent {
				t.Errorf("%s, but %+v: %v", test.name, p, got)
			}
		}
	}
}
