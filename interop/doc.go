// Package interop holds tests that need more than this module: clients and servers
// that others wrote, a browser, and the toolchain's view of the whole repository.
//
// The tests against other software run when WEFT_INTEROP=1 is set, which
// `make interop` does after it has installed what they need. The layout tests run
// always.
package interop
