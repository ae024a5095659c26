package main

import (
	"fmt"
	"math"
	"strings"
)

// writeBenchstat writes a line for each round, in the format of Go's benchmarks.
// Two such files compare by benchstat old new, rows by benchstat -col /row.
func writeBenchstat(w *strings.Builder, r *Result) error {
	fmt.Fprintf(w, "goos: %s\npkg: github.com/weftws/weft/benchmarks/cmd/weftbench\ncpu: %s\n", strings.Fields(r.Machine.System)[0], r.Machine.CPU)
	for _, c := range r.Cases {
		for _, row := range c.Rows {
			for round := range row.Rounds[0] {
				fmt.Fprintf(w, "Benchmark%s/case=%s/row=%s 1", upper(c.Scenario), word(c.Name), strings.ReplaceAll(row.Row, "/", "-"))
				for i, column := range c.Columns {
					if x := row.Rounds[i][round]; !math.IsNaN(x) {
						fmt.Fprintf(w, " %g %s", x, word(column))
					}
				}
				fmt.Fprintln(w)
			}
		}
	}
	return nil
}

// word makes s one word.
func word(s string) string {
	return strings.NewReplacer(", ", ",", " ", "-", "%", "percent").Replace(s)
}
