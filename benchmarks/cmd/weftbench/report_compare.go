package main

import (
	"fmt"
	"strings"
)

// writeComparison prints how the first figures have changed since an older run.
func writeComparison(w *strings.Builder, old, now *Result) {
	fmt.Fprintf(w, "\ncompared with %s\n", old.Time.Format("2006-01-02 15:04 MST"))
	if old.Machine.CPU != now.Machine.CPU || old.Machine.Go != now.Machine.Go || old.Machine.Pinned != now.Machine.Pinned {
		fmt.Fprintf(w, "that was another machine or another Go: %s, %s; %s\n", old.Machine.CPU, old.Machine.Go, old.Machine.Placed)
	}
	t := [][]string{{"case", "row", "figure", "old", "new", "new/old"}}
	for _, c := range now.Cases {
		for _, r := range c.Rows {
			before := old.find(c, r.Row)
			if before == nil || len(before.Rounds[0]) == 0 || len(r.Rounds[0]) == 0 {
				continue
			}
			x, decided := apart(r.Rounds[0], before.Rounds[0])
			t = append(t, []string{c.Scenario + ", " + c.Name, r.Row, c.Columns[0],
				figure(before.Rounds[0].median()), figure(r.Rounds[0].median()), verdict(x, decided)})
		}
	}
	writeAligned(w, t, false)
	if len(t) == 1 {
		fmt.Fprintln(w, "the two runs have no row of a case in common")
	}
	fmt.Fprintf(w, "%s: undecided: under %.1fx, and the rounds of the two runs overlap\n", undecided, decisive)
}

func (r *Result) find(c *Case, row string) *RowResult {
	for _, d := range r.Cases {
		if d.Scenario != c.Scenario || d.Name != c.Name || d.Columns[0] != c.Columns[0] {
			continue
		}
		for _, x := range d.Rows {
			if x.Row == row {
				return x
			}
		}
	}
	return nil
}
