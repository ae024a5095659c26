package brokertest

// CheckRule checks the rule of that name alone.
func CheckRule(name string, factory Factory, f Features) []error {
	return check(find(name), factory, f)
}
