//go:build !race

package middleware_test

// manyKeys is how many keys a table must bear.
const manyKeys = 1_000_000
