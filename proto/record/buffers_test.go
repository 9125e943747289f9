package record

import "testing"

func TestBuffers(t *testing.T) {
	const small, middle = largePlain + 2*(headerSize+tagSize), 64 << 10
	for _, test := range []struct{ size, want int }{
		{0, small}, {small - 1, small}, {small, small}, {small + 1, middle},
		{middle, middle}, {middle + 1, maxBuffer}, {maxBuffer, maxBuffer},
	} {
		for range 2 { // a new one, and perhaps one that was given back
			b := takeBuffer(test.size)
			if len(*b) != test.want {
				t.Errorf("for %d bytes a buffer of %d", test.size, len(*b))
			}
			giveBuffer(b)
		}
	}
}
