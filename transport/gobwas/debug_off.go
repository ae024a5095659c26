//go:build !weftdebug

package gobwas

func scribble([]byte) {}
