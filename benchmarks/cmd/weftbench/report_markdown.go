package main

import (
	"fmt"
	"strings"
)

// method is what every page says of the figures.
var method = []string{
	"Each row is a server in a process of its own on one core; one client process loads it over loopback. Rounds are interleaved: each row once, then each row again, so that what else the machine does hits all of them.",
	"The first figure is what rows are compared by. Where it is CPU time, it is user and system time of the server process alone, by the kernel's clock of that process; wall-clock time includes the client.",
	"The client sends frames that were masked once and counts answers without decoding them. It goes round its connections, so that servers find several ready at a time: figures for many connections favour those who use that.",
	"Loopback has no losses, no delay and no network card; compression is off; all clients are equally fast unless stated. Ratios of one run carry over to other machines, absolute figures do not.",
	"Rows do not all do the same: see what each checks and how many bytes its envelope adds. What a library's set-up follows is stated in its file under benchmarks/compare.",
}

func writeMarkdown(w *strings.Builder, r *Result) error {
	fmt.Fprint(w, "# Results of weftbench\n\nWritten by `weftbench -md`; not by hand.\n\n")
	m := r.Machine
	fmt.Fprintf(w, "%s: %s, %s, %s, %s; %s. %s, base %s.\n", r.Time.Format("2006-01-02 15:04 MST"), m.CPU, plural(m.Cores, "core"), m.System, m.Go, m.Placed,
		plural(r.Rounds, "round"), r.Base)
	for _, n := range r.Notes {
		fmt.Fprintf(w, "\n**Note:** %s.\n", n)
	}
	fmt.Fprint(w, "\n## Method and bias\n\n")
	for _, s := range method {
		fmt.Fprintf(w, "- %s\n", s)
	}
	fmt.Fprintf(w, "\n%s\n", legend)
	last := ""
	for _, c := range r.Cases {
		if c.Scenario != last {
			last = c.Scenario
			fmt.Fprintf(w, "\n## %s\n", last)
			if s := scenarioOf(last); s != nil {
				fmt.Fprintf(w, "\n%s. %s\n", upper(s.what), s.how)
			}
		}
		fmt.Fprintf(w, "\n### %s\n\n", c.Name)
		writeMarkdownTable(w, c.table(r.Base))
	}
	fmt.Fprint(w, "\n## Rows\n\n")
	writeMarkdownTable(w, rowTable(r.Rows))
	return nil
}

func scenarioOf(name string) *scenario {
	for _, s := range scenarios() {
		if s.name == name {
			return s
		}
	}
	return nil
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func writeMarkdownTable(w *strings.Builder, t [][]string) {
	for i, line := range t {
		fmt.Fprint(w, "|")
		for _, cell := range line {
			fmt.Fprintf(w, " %s |", strings.ReplaceAll(cell, "|", `\|`))
		}
		fmt.Fprintln(w)
		if i == 0 {
			fmt.Fprintln(w, "|"+strings.Repeat("---|", len(t[0])))
		}
	}
}
