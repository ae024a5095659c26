//go:build weftdebug

package wire

// Scribble overwrites a buffer at the end of its life, so that whoever kept it
// without a copy fails a test.
func Scribble(p []byte) {
	for i := range p {
		p[i] = 0xDB
	}
}
