//go:build race

package inspect

// raceEnabled: the race detector allocates by itself.
const raceEnabled = true
