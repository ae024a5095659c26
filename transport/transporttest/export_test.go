package transporttest

// CheckRule checks one rule as Check does.
func CheckRule(name string, factory Factory, features Features) []error {
	return check(find(name), factory, features.withDefaults())
}
