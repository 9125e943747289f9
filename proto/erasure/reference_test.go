package erasure

// A slow reference for the code: GF(2^8) with the polynomial x^8+x^4+x^3+x^2+1,
// and the Vandermonde matrix row r, column c = r^c, made systematic by the
// inverse of its upper square.

func gfMul(a, b byte) byte {
	var product byte
	for ; b > 0; b >>= 1 {
		if b&1 == 1 {
			product ^= a
		}
		carry := a >> 7
		a = a<<1 ^ carry*0x1d
	}
	return product
}

func gfPow(a byte, n int) byte {
	power := byte(1)
	for range n {
		power = gfMul(power, a)
	}
	return power
}

func gfInverse(a byte) byte { return gfPow(a, 254) }

type row []byte

// dot is byte at of the chunk that r makes of the data.
func (r row) dot(data [][]byte, at int) byte {
	var sum byte
	for i, factor := range r {
		sum ^= gfMul(factor, data[i][at])
	}
	return sum
}

// referenceMatrix is the rows that make each of total chunks. Column operations
// that turn the upper square into the identity multiply by its inverse.
func referenceMatrix(required, total int) []row {
	m := make([]row, total)
	for r := range m {
		m[r] = make(row, required)
		for c := range m[r] {
			m[r][c] = gfPow(byte(r), c)
		}
	}
	for pivot := range required {
		from := pivot
		for m[pivot][from] == 0 {
			from++
		}
		scale := gfInverse(m[pivot][from])
		for _, r := range m {
			r[pivot], r[from] = r[from], r[pivot]
			r[pivot] = gfMul(r[pivot], scale)
		}
		for c := range required {
			factor := m[pivot][c]
			if c == pivot || factor == 0 {
				continue
			}
			for _, r := range m {
				r[c] ^= gfMul(factor, r[pivot])
			}
		}
	}
	return m
}
