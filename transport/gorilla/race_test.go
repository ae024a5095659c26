//go:build race

package gorilla

// raceEnabled: the race detector allocates by itself and makes each byte expensive.
const raceEnabled = true
