//go:build !unix

package prometheus

import "time"

func processorTime() time.Duration { return 0 }
