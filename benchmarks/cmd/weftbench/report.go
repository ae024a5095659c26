package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Result is a run, as -json writes it.
type Result struct {
	Format  int       `json:"format"` // 1
	Time    time.Time `json:"time"`
	Machine Machine   `json:"machine"`
	Rounds  int       `json:"rounds"`
	Quick   bool      `json:"quick,omitempty"`
	Base    string    `json:"base"`
	Rows    []*row    `json:"rows"`
	Cases   []*Case   `json:"cases"`
	Notes   []string  `json:"notes"`
}

// Machine is where a run was made.
type Machine struct {
	CPU    string  `json:"cpu"`
	Cores  int     `json:"cores"`
	System string  `json:"system"`
	Go     string  `json:"go"`
	Load   float64 `json:"load"` // average of the minute before
	Pinned bool    `json:"pinned"`
	Placed string  `json:"placed"`
}

// Case is one table.
type Case struct {
	Scenario string       `json:"scenario"`
	Name     string       `json:"name"`
	Columns  []string     `json:"columns"`
	Rows     []*RowResult `json:"rows"`
}

// RowResult is a line of it.
type RowResult struct {
	Row     string   `json:"row"`
	Rounds  []Values `json:"rounds"` // for each column
	Error   string   `json:"error,omitempty"`
	Blocked bool     `json:"blocked,omitempty"` // Error is what was found out about the row, not trouble in measuring it
}

// outcome is how a row ended that has an Error.
func (r *RowResult) outcome() string {
	if r.Blocked {
		return "blocked"
	}
	return "failed"
}

const resultFormat = 1

// reportKind is a way to write a result into a file.
type reportKind struct {
	flag, help string
	write      func(*strings.Builder, *Result) error
}

var reportKinds = []reportKind{
	{"json", "write all rounds as JSON to `file`, for -compare and -from", writeJSON},
	{"benchstat", "write to `file` what benchstat reads", writeBenchstat},
	{"md", "write Markdown to `file`", writeMarkdown},
	{"html", "write one self-contained page with charts to `file`", writeHTML},
}

func (b *bench) result(load float64) *Result {
	r := &Result{
		Format: resultFormat,
		Time:   time.Now().UTC().Truncate(time.Second),
		Machine: Machine{
			CPU: cpuModel(), Cores: runtime.NumCPU(), System: kernel() + "/" + runtime.GOARCH, Go: runtime.Version(),
			Load: load, Pinned: b.placement.pinned, Placed: b.placement.said,
		},
		Rounds: b.rounds, Quick: b.quick, Base: b.rows[0].Name, Rows: b.rows,
	}
	if b.quick {
		b.note("a quick run: it shows that everything works, its figures mean nothing")
	}
	if b.rounds < decidingRound {
		b.note("%s: under %d nothing below %.1fx is decided", plural(b.rounds, "round"), decidingRound, decisive)
	}
	if load > 0.5 {
		b.note("the machine was busy when the run began (load %.1f): trust no difference under %.1fx", load, decisive)
	}
	return r
}

// dropEmpty leaves out what was never begun.
func (r *Result) dropEmpty() {
	cases := r.Cases[:0]
	for _, c := range r.Cases {
		rows := c.Rows[:0]
		for _, row := range c.Rows {
			if row.Error != "" || len(row.Rounds[0]) > 0 {
				rows = append(rows, row)
			}
		}
		if c.Rows = rows; len(rows) > 0 {
			cases = append(cases, c)
		}
	}
	r.Cases = cases
}

// failure is an error that names the rows that have failed.
func (r *Result) failure() error {
	failed := map[string]bool{}
	for _, c := range r.Cases {
		for _, row := range c.Rows {
			if row.Error != "" && !row.Blocked {
				failed[row.Row] = true
			}
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("not all was measured: of %s something has failed", strings.Join(slices.Sorted(maps.Keys(failed)), ", "))
}

func readResult(name string) (*Result, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var r Result
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%s is no result of -json: %w", name, err)
	}
	if r.Format != resultFormat {
		return nil, fmt.Errorf("%s has format %d, not %d", name, r.Format, resultFormat)
	}
	for _, c := range r.Cases {
		for _, row := range c.Rows {
			if len(row.Rounds) != len(c.Columns) {
				return nil, fmt.Errorf("%s: %s, %s, %s: %d columns instead of %d", name, c.Scenario, c.Name, row.Row, len(row.Rounds), len(c.Columns))
			}
		}
	}
	return &r, nil
}

func writeJSON(w *strings.Builder, r *Result) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s\n", b)
	return nil
}

// base is the row that ratios refer to: the chosen one, or the first that takes part.
func (c *Case) base(name string) *RowResult {
	for _, r := range c.Rows {
		if r.Row == name && len(r.Rounds[0]) > 0 {
			return r
		}
	}
	for _, r := range c.Rows {
		if len(r.Rounds[0]) > 0 {
			return r
		}
	}
	return nil
}

// header is the first line of a case's table, on the terminal and in Markdown.
func header(columns []string) []string {
	return append([]string{"row", columns[0], "±", "ratio"}, columns[1:]...)
}

// table is a case as text, header first.
func (c *Case) table(baseName string) [][]string {
	t := [][]string{header(c.Columns)}
	base := c.base(baseName)
	for _, r := range c.Rows {
		first := r.Rounds[0]
		if len(first) == 0 {
			line := make([]string, len(t[0]))
			line[0], line[1] = r.Row, r.outcome()
			t = append(t, line)
			continue
		}
		line := []string{r.Row, figure(first.median()), percent(first.spread()), ratioText(r, base)}
		for _, v := range r.Rounds[1:] {
			line = append(line, figure(v.median()))
		}
		if r.Error != "" {
			line[0] += " (" + r.outcome() + ")"
		}
		t = append(t, line)
	}
	return t
}

const undecided = "~"

func ratioText(r, base *RowResult) string {
	if r == base {
		return "base"
	}
	x, decided := ratio(r.Rounds[0], base.Rounds[0])
	return verdict(x, decided)
}

func verdict(x float64, decided bool) string {
	switch {
	case math.IsNaN(x), math.IsInf(x, 0):
		return "-"
	case decided:
		return fmt.Sprintf("%.2f", x)
	}
	return fmt.Sprintf("%s %.2f", undecided, x)
}

// legend explains the table.
const legend = "Medians of interleaved rounds; ± is half the way from the smallest to the largest round. ratio: to the base, in the first figure; " +
	undecided + " marks the undecided: under 1.3x, and the rounds do not all agree. CPU: 100 % is one core."

func figure(x float64) string {
	switch a := math.Abs(x); {
	case math.IsNaN(x):
		return "-"
	case a >= 100:
		return fmt.Sprintf("%.0f", x)
	case a >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

func percent(x float64) string {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return "-"
	}
	return fmt.Sprintf("%.0f%%", 100*x)
}

func writeTerminal(w *strings.Builder, r *Result) {
	m := r.Machine
	fmt.Fprintf(w, "%s, %s, %s, %s; %s\n", m.CPU, plural(m.Cores, "core"), m.System, m.Go, m.Placed)
	for _, c := range r.Cases {
		fmt.Fprintf(w, "\n%s: %s\n", c.Scenario, c.Name)
		writeAligned(w, c.table(r.Base), true)
		for _, row := range c.Rows {
			if row.Error != "" {
				fmt.Fprintf(w, "%s %s after %s: %s\n", row.Row, row.outcome(), plural(len(row.Rounds[0]), "round"), row.Error)
			}
		}
	}
	fmt.Fprintf(w, "\n%s\n", legend)
	for _, n := range r.Notes {
		fmt.Fprintln(w, "note:", n)
	}
}

// writeAligned writes columns as wide as their widest cell; with figures, all but the
// first are flush right.
func writeAligned(w *strings.Builder, t [][]string, figures bool) {
	width := make([]int, len(t[0]))
	for _, line := range t {
		for i, cell := range line {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, line := range t {
		var b strings.Builder
		for i, cell := range line {
			space := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if figures && i > 0 {
				cell, space = space+cell, ""
			}
			b.WriteString("  " + cell + space)
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// list is what can be chosen, and what each row is and checks.
func list(rows []*row, notes []string) string {
	var w strings.Builder
	w.WriteString("scenarios:\n")
	var t [][]string
	for _, s := range scenarios() {
		when := ""
		if s.full {
			when = "not by default"
		}
		t = append(t, []string{s.name, s.what, when})
	}
	writeAligned(&w, t, false)
	w.WriteString("\nrows:\n")
	writeAligned(&w, rowTable(rows), false)
	for _, n := range notes {
		fmt.Fprintln(&w, "note:", n)
	}
	return w.String()
}

// rowTable is what the rows are, header first.
func rowTable(rows []*row) [][]string {
	t := [][]string{{"row", "library", "version", "kind", "UTF-8", "limit", "compression", "envelope", "note"}}
	for _, r := range rows {
		text := "not checked"
		if r.UTF8 {
			text = "checked"
		}
		t = append(t, []string{r.Name, r.Library, r.Version, r.Kind, text, r.Limit, r.Compression, fmt.Sprintf("%d B", r.Envelope), r.Note})
	}
	return t
}
