package interop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/weftws/weft"

// maxModules bounds what a user's module graph gains from weft.
const maxModules = 20

// rule says what the packages of one place may import besides the standard
// library. In allow a name stands for that package alone, one with "/..." for all
// below it, too. Names without a dot in the first element are packages of weft.
type rule struct {
	place *regexp.Regexp
	allow []string
}

var rules = []rule{
	{place(`codec|transport/internal/wire|subprotocol/internal/[^/]+`), nil},
	// Only tests import it, so it may be written like one.
	{place(`transport/internal/enginetest`), []string{"transport", "transport/internal/...", "github.com/stretchr/testify/require"}},
	{place(`transport/internal/[^/]+`), []string{"transport", "transport/internal/..."}},
	{place(`transport`), []string{"transport/internal/..."}}, // parts of its own, for its implementations too
	{place(`subprotocol`), []string{"transport"}},
	{place(`transport/transporttest`), []string{"transport"}},
	{place(`subprotocol/subprotocoltest`), []string{"transport", "subprotocol"}},
	{place(`codec/codectest`), []string{"codec"}},
	{place(`transport/gobwas`), []string{
		"transport", "transport/internal/...",
		"github.com/gobwas/ws/...", "github.com/gobwas/httphead", "github.com/klauspost/compress/...",
	}},
	{place(`transport/gorilla`), []string{"transport", "transport/internal/...", "github.com/gorilla/websocket"}},
	{place(`transport/[^/]+`), []string{"transport", "transport/internal/..."}},
	{place(`subprotocol/stomp/.*`), []string{"transport", "subprotocol", "subprotocol/internal/...", "subprotocol/stomp/..."}},
	{place(`subprotocol/[^/]+`), []string{"transport", "subprotocol", "subprotocol/internal/...", "subprotocol/stomp/..."}},
	{place(`codec/msgpackcodec`), []string{"codec", "github.com/vmihailenco/msgpack/v5/..."}},
	{place(`codec/[^/]+`), []string{"codec"}},
	{place(`handler/internal/[^/]+`), []string{"subprotocol"}},
	{place(`handler`), []string{"transport", "subprotocol", "codec", "handler/internal/..."}},
	{place(`handler/handlertest`), []string{"..."}},                                                                                 // the table of stacks names every implementation
	{place(`handler/broker/brokertest`), []string{"transport", "subprotocol", "handler", "transport/pipe", "subprotocol/envelope"}}, // one stack to run brokers in
	{place(`handler/.+`), []string{"transport", "subprotocol", "codec", "handler/..."}},
	{place(`middleware`), []string{"transport", "subprotocol", "codec", "handler", "golang.org/x/time/rate"}},
	// Programs, benchmarks and tests put stacks together and may import all of weft.
	{place(`(benchmarks|examples|interop)(/.*)?`), []string{"..."}},
}

func place(pattern string) *regexp.Regexp { return regexp.MustCompile(`^(` + pattern + `)$`) }

type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
}

// list returns every package of the module and all that they need, as built for
// goos.
func list(goos string) (map[string]*pkg, error) {
	cmd := exec.Command("go", "list", "-e", "-deps", "-json=ImportPath,Standard,Imports,Deps", "./...")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "GOOS="+goos)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list for %s: %w\n%s", goos, err, stderr.Bytes())
	}
	pkgs := make(map[string]*pkg)
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(pkg)
		if err := dec.Decode(p); errors.Is(err, io.EOF) {
			return pkgs, nil
		} else if err != nil {
			return nil, err
		}
		pkgs[p.ImportPath] = p
	}
}

// broken returns what is wrong with the imports of pkgs, one sentence each.
func broken(pkgs map[string]*pkg) []string {
	var faults []string
	for path, p := range pkgs {
		rel, ours := strings.CutPrefix(path, module+"/")
		if path == module {
			faults = append(faults, "there are Go files at the top of the module: every package has a folder")
			continue
		}
		if !ours {
			continue
		}
		if first, _, _ := strings.Cut(rel, "/"); slices.Contains([]string{"internal", "util", "common"}, first) {
			faults = append(faults, rel+": there is no such folder at the top: put it where it belongs")
		}
		i := slices.IndexFunc(rules, func(r rule) bool { return r.place.MatchString(rel) })
		if i < 0 {
			faults = append(faults, rel+": no rule of this test says what it may import")
			continue
		}
		for _, imp := range p.Imports {
			if std := pkgs[imp]; std != nil && std.Standard || allowed(rules[i].allow, imp) {
				continue
			}
			faults = append(faults, fmt.Sprintf("%s must not import %s", rel, imp))
		}
		if strings.HasSuffix(rel, "test") && rel != "handler/handlertest" && !strings.Contains(rel, "/internal/") {
			for _, dep := range p.Deps {
				d := pkgs[dep]
				if d != nil && !d.Standard && !strings.HasPrefix(dep, module+"/") {
					faults = append(faults, fmt.Sprintf("the kit %s must not need %s", rel, dep))
				}
			}
		}
	}
	slices.Sort(faults)
	return faults
}

func allowed(allow []string, imp string) bool {
	rel, ours := strings.CutPrefix(imp, module+"/")
	for _, a := range allow {
		if a == "..." {
			if ours {
				return true
			}
			continue
		}
		prefix, tree := strings.CutSuffix(a, "/...")
		first, _, _ := strings.Cut(prefix, "/")
		name := rel
		if strings.Contains(first, ".") {
			name = imp
		} else if !ours {
			continue
		}
		if name == prefix || tree && strings.HasPrefix(name, prefix+"/") {
			return true
		}
	}
	return false
}

// The contracts know nothing of their implementations, on any platform.
func TestImports(t *testing.T) {
	t.Parallel()
	for _, goos := range []string{"linux", "darwin", "windows"} {
		t.Run(goos, func(t *testing.T) {
			t.Parallel()
			pkgs, err := list(goos)
			require.NoError(t, err)
			require.Contains(t, pkgs, module+"/transport")
			require.Contains(t, pkgs, module+"/handler")
			for _, fault := range broken(pkgs) {
				t.Error(fault)
			}
		})
	}
}

// A rule that finds nothing proves nothing.
func TestImportsFindsFaults(t *testing.T) {
	t.Parallel()
	of := func(path string, imports ...string) *pkg {
		return &pkg{ImportPath: path, Imports: imports, Deps: imports}
	}
	for want, p := range map[string]*pkg{
		"transport must not import " + module + "/handler":                             of(module+"/transport", module+"/handler"),
		"codec must not import " + module + "/transport":                               of(module+"/codec", module+"/transport"),
		"subprotocol must not import " + module + "/subprotocol/raw":                   of(module+"/subprotocol", module+"/subprotocol/raw"),
		"handler must not import " + module + "/transport/gobwas":                      of(module+"/handler", module+"/transport/gobwas"),
		"handler must not import github.com/gobwas/ws":                                 of(module+"/handler", "github.com/gobwas/ws"),
		"transport/pipe must not import " + module + "/transport/gobwas":               of(module+"/transport/pipe", module+"/transport/gobwas"),
		"transport/gobwas must not import github.com/gorilla/websocket":                of(module+"/transport/gobwas", "github.com/gorilla/websocket"),
		"middleware must not import " + module + "/middleware/other":                   of(module+"/middleware", module+"/middleware/other"),
		"the kit transport/transporttest must not need github.com/stretchr/testify":    of(module+"/transport/transporttest", "github.com/stretchr/testify"),
		"internal: there is no such folder at the top: put it where it belongs":        of(module + "/internal"),
		"there are Go files at the top of the module: every package has a folder":      of(module),
		"elsewhere/new: no rule of this test says what it may import":                  of(module + "/elsewhere/new"),
		"examples/chat must not import github.com/gobwas/ws":                           of(module+"/examples/chat", "github.com/gobwas/ws"),
		"handler/handlertest must not import github.com/stretchr/testify":              of(module+"/handler/handlertest", "github.com/stretchr/testify"),
		"subprotocol/raw must not import " + module + "/handler":                       of(module+"/subprotocol/raw", module+"/handler"),
		"codec/jsoncodec must not import " + module + "/codec/msgpackcodec":            of(module+"/codec/jsoncodec", module+"/codec/msgpackcodec"),
		"transport/internal/wire must not import " + module + "/subprotocol":           of(module+"/transport/internal/wire", module+"/subprotocol"),
		"subprotocol/subprotocoltest must not import " + module + "/subprotocol/stomp": of(module+"/subprotocol/subprotocoltest", module+"/subprotocol/stomp"),
	} {
		pkgs := map[string]*pkg{p.ImportPath: p}
		for _, imp := range p.Imports {
			pkgs[imp] = &pkg{ImportPath: imp}
		}
		// An imported package of ours is judged, too, and breaks no rule by itself.
		require.Contains(t, broken(pkgs), want)
	}
	good := of(module+"/transport/gobwas", "net", module+"/transport", "github.com/gobwas/ws")
	require.Empty(t, broken(map[string]*pkg{good.ImportPath: good, "net": {ImportPath: "net", Standard: true}}))
}

// Whoever takes weft takes its module graph, and nothing in it is there by habit.
func TestModuleGraph(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("go", "list", "-m", "all")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	require.NoError(t, err)
	mods := strings.Fields(string(regexp.MustCompile(`(?m) .*$`).ReplaceAll(out, nil)))
	require.Equal(t, module, mods[0])
	require.LessOrEqual(t, len(mods)-1, maxModules, "the graph: %v", mods[1:])
}

// The programs in the README are those in examples, which compile, and short: what
// matters of them, without the imports, fits on a screen.
func TestReadmePrograms(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join("..", "README.md"))
	require.NoError(t, err)
	for _, name := range []string{"quickstart", "stack", "stomp"} {
		program, err := os.ReadFile(filepath.Join("..", "examples", name, "main.go"))
		require.NoError(t, err)
		require.Contains(t, text(readme), "```go\n"+text(program)+"```\n",
			"the README must hold examples/%s/main.go, letter for letter", name)
		_, body, ok := strings.Cut(text(program), "\n)\n")
		require.True(t, ok)
		require.Less(t, strings.Count(body, "\n"), 40, name)
	}
}

// text is b with the line ends that a checkout on Windows changes put right.
func text(b []byte) string { return strings.ReplaceAll(string(b), "\r\n", "\n") }

// A file with more than 600 lines wants to be two, and whoever finds that it must
// not be adds it here with the reason.
func TestFileLength(t *testing.T) {
	t.Parallel()
	const limit = 600
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if name := d.Name(); path != ".." && (name == "node_modules" || name == ".git" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		case filepath.Ext(path) != ".go":
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if n := bytes.Count(b, []byte("\n")); n > limit {
			t.Errorf("%s has %d lines, the limit is %d", path, n, limit)
		}
		return nil
	})
	require.NoError(t, err)
}
