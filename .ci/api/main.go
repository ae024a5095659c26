// Command api prints how much each importable package of the module exports:
// names at the top level, and beside them the methods and fields of exported
// types, which a user has to learn as well.
package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("api: ")
	cmd := exec.Command("go", "list", "-f",
		`{{if ne .Name "main"}}{{.ImportPath}}{{range .GoFiles}} {{$.Dir}}/{{.}}{{end}}{{end}}`, "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		log.Fatalf("go list: %v", err)
	}
	fmt.Printf("%-50s %5s %8s\n", "package", "names", "members")
	for line := range strings.Lines(string(bytes.TrimSpace(out))) {
		f := strings.Fields(line)
		if len(f) < 2 || strings.Contains(f[0], "/internal/") {
			continue
		}
		names, members := 0, 0
		for _, file := range f[1:] {
			n, m, err := count(filepath.FromSlash(file))
			if err != nil {
				log.Fatal(err)
			}
			names, members = names+n, members+m
		}
		fmt.Printf("%-50s %5d %8d\n", f[0], names, members)
	}
}

func count(file string) (names, members int, err error) {
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		return 0, 0, err
	}
	for _, d := range tree.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			switch {
			case !d.Name.IsExported():
			case d.Recv == nil:
				names++
			case ast.IsExported(receiver(d.Recv.List[0].Type)):
				members++
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.ValueSpec:
					names += exported(s.Names)
				case *ast.TypeSpec:
					if s.Name.IsExported() {
						names++
						members += membersOf(s.Type)
					}
				}
			}
		}
	}
	return names, members, nil
}

// receiver is the name of a method's type, without pointer and type parameters.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	default:
		return ""
	}
}

func membersOf(t ast.Expr) int {
	var fields *ast.FieldList
	switch t := t.(type) {
	case *ast.StructType:
		fields = t.Fields
	case *ast.InterfaceType:
		fields = t.Methods
	default:
		return 0
	}
	n := 0
	for _, f := range fields.List {
		n += exported(f.Names)
	}
	return n
}

func exported(names []*ast.Ident) int {
	n := 0
	for _, name := range names {
		if name.IsExported() {
			n++
		}
	}
	return n
}
