//go:build weftdebug

package gobwas

func scribble(p []byte) {
	for i := range p {
		p[i] = 0xDB
	}
}
