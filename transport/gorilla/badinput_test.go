package gorilla

import (
	"strings"
)

// request is upgradeRequest with one line replaced, or added if old is "".
func request(old, new string) string {
	if old == "" {
		return strings.TrimSuffix(upgradeRequest, "\r\n") + new + "\r\n\r\n"
	}
	if !strings.Contains(upgradeRequest, old) {
		panic("no such line: " + old)
	}
	return strings.Replace(upgradeRequest, old, new, 1)
}
