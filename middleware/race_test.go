//go:build race

package middleware_test

// manyKeys is less than elsewhere, as the race detector makes each ten times as slow.
const manyKeys = 100_000
