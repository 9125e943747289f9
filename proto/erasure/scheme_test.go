package erasure

import (
	"errors"
	"testing"
)

func TestParseScheme(t *testing.T) {
	for text, want := range map[string]Scheme{
		"4/6/8/10":        {4, 6, 8, 10},
		"20/28/32/40":     {20, 28, 32, 40},
		"1/1/1/2":         {1, 1, 1, 2},
		"9/10/10/10":      {9, 10, 10, 10},
		"254/254/254/255": {254, 254, 254, 255},
	} {
		got, err := ParseScheme(text)
		if err != nil || got != want {
			t.Errorf("ParseScheme(%q) = %v, %v", text, got, err)
		}
		if got.String() != text {
			t.Errorf("ParseScheme(%q).String() = %q", text, got)
		}
	}
	for _, text := range []string{
		"", "4", "4/6/8", "4/6/8/10/", "4/6/8/10/12", "4//8/10", "a/6/8/10", "4/6/8/10 ", " 4/6/8/10",
		"04/6/8/10", "+4/6/8/10", "4/6/8/0x10", "-4/6/8/10", "0/6/8/10", "0/0/0/0", "4/3/8/10", "4/9/8/10",
		"4/6/11/10", "10/10/10/10", "4/6/8/256", "99999999999999999999/6/8/10",
	} {
		if _, err := ParseScheme(text); !errors.Is(err, ErrScheme) {
			t.Errorf("ParseScheme(%q): %v", text, err)
		}
	}
}
