//go:build weftdebug

package handler

// expire overwrites bytes that nobody may look at any more.
func expire(b []byte) {
	for i := range b {
		b[i] = 0xdb
	}
}
