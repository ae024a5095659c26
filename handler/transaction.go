package handler

// transaction is what a session handles at a Commit.
type transaction struct {
	effects []func()
}
