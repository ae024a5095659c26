//go:build !race

package gobwas

const raceEnabled = false
