package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// pkg is what the rules need to know about a package.
type pkg struct {
	name    string // folder below the root of the module, with slashes; "." for the root
	files   []file
	hasCode bool           // it has files that are not tests
	methods map[string]int // by type, without those of test files
}

type file struct {
	path        string
	lines       int
	isTest      bool
	isGenerated bool     // generated
	doc         string   // the package comment, if this file has it
	clause      string   // the name in its package clause
	imports     []string // full import paths
	exits       []string // "line: what" for each use of a function that ends the process
	sockets     []string // "line: what" of each use of a socket
	functions   []function
}

type function struct {
	name     string
	receiver string // type of a method; empty for a function
	line     int
	lines    int
}

// load reads every Go file below root, for all systems and build tags. It parses the files itself
// because go list sees one system at a time, and because go test then notices when to run this test
// again.
func load(root string) ([]pkg, error) {
	byName := map[string]*pkg{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			if p != root && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata") {
				return fs.SkipDir
			}
			if _, err := os.Stat(filepath.Join(p, "go.mod")); p != root && err == nil {
				return fs.SkipDir // another module, such as bench
			}
			return nil
		}
		if filepath.Ext(base) != ".go" {
			return nil
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		f, err := read(p, filepath.ToSlash(rel))
		if err != nil {
			return err
		}
		name := path.Dir(f.path)
		if byName[name] == nil {
			byName[name] = &pkg{name: name, methods: map[string]int{}}
		}
		byName[name].files = append(byName[name].files, f)
		byName[name].hasCode = byName[name].hasCode || !f.isTest
		for _, fn := range f.functions {
			if fn.receiver != "" && !f.isTest {
				byName[name].methods[fn.receiver]++
			}
		}
		return nil
	})
	var all []pkg
	for _, p := range byName {
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b pkg) int { return strings.Compare(a.name, b.name) })
	return all, err
}

func read(from, name string) (file, error) {
	source, err := os.ReadFile(from)
	if err != nil {
		return file{}, err
	}
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, name, source, parser.ParseComments)
	if err != nil {
		return file{}, err
	}
	f := file{
		path:        name,
		lines:       bytes.Count(source, []byte("\n")),
		isTest:      strings.HasSuffix(name, "_test.go"),
		isGenerated: ast.IsGenerated(tree),
		doc:         tree.Doc.Text(),
		clause:      tree.Name.Name,
	}
	if len(source) > 0 && source[len(source)-1] != '\n' {
		f.lines++
	}
	called := map[string]string{} // name in this file -> import path
	for _, spec := range tree.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return file{}, err
		}
		f.imports = append(f.imports, p)
		called[path.Base(p)] = p
		if spec.Name != nil {
			called[spec.Name.Name] = p
		}
	}
	f.functions = functionsOf(fset, tree)
	ast.Inspect(tree, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && endsProcess(called[x.Name], sel.Sel.Name) {
				f.exits = append(f.exits, fmt.Sprintf("%d: only main may end the process, not %s.%s",
					fset.Position(sel.Pos()).Line, called[x.Name], sel.Sel.Name))
			}
			if x, ok := sel.X.(*ast.Ident); ok && called[x.Name] == "net" && slices.Contains(socketTypes, sel.Sel.Name) {
				f.sockets = append(f.sockets, fmt.Sprintf("%d: net.%s", fset.Position(sel.Pos()).Line, sel.Sel.Name))
			}
		}
		return true
	})
	return f, nil
}

func functionsOf(fset *token.FileSet, tree *ast.File) (all []function) {
	for _, d := range tree.Decls {
		if d, ok := d.(*ast.FuncDecl); ok {
			first, last := fset.Position(d.Pos()).Line, fset.Position(d.End()).Line
			all = append(all, function{name: d.Name.Name, receiver: receiver(d), line: first, lines: last - first + 1})
		}
	}
	return all
}

// receiver returns the type of a method, without its type parameters.
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	t := d.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	switch generic := t.(type) {
	case *ast.IndexExpr:
		t = generic.X
	case *ast.IndexListExpr:
		t = generic.X
	}
	if name, ok := t.(*ast.Ident); ok {
		return name.Name
	}
	return ""
}

// socketTypes are the names of package net that come with a socket. Addresses do not.
var socketTypes = []string{"Buffers", "Conn", "Dial", "DialTCP", "DialTimeout", "DialUDP", "Dialer", "Listen", "ListenConfig", "ListenPacket",
	"ListenTCP", "ListenUDP", "Listener", "PacketConn", "Pipe", "TCPConn", "TCPListener", "UDPConn", "UnixConn"}

func endsProcess(importPath, name string) bool {
	switch importPath {
	case "os", "syscall":
		return name == "Exit"
	case "log":
		return strings.HasPrefix(name, "Fatal")
	}
	return false
}

// violations returns what breaks the rules, and what to do about it.
func violations(packages []pkg) []string {
	var found []string
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }

	for _, p := range packages {
		p.checkSizes(say)
		allowed, known := arrows[p.name]
		if !known {
			say("%s has no row in the table of arrows: add one to internal/arch/arch_test.go with what it may import", p.name)
		}
		commented := !p.hasCode
		for _, f := range p.files {
			commented = commented || introduces(f)
			if !f.isTest {
				p.checkFile(f, allowed, known, say)
			}
		}
		if !commented {
			say("%s has no package comment: say why the package exists and what it must never know", p.name)
		}
	}
	return found
}

// checkSizes checks the sizes of files, functions and types. Tests are often tables, so only the size of their files counts.
func (p pkg) checkSizes(say func(format string, args ...any)) {
	for _, f := range p.files {
		if f.lines > maxLines && !f.isGenerated && longFiles[f.path] == "" {
			say("%s has %d lines: a file is one idea. Split it, or give the reason in longFiles", f.path, f.lines)
		}
		if f.isTest || f.isGenerated {
			continue
		}
		for _, fn := range f.functions {
			if fn.lines > maxFunctionLines && longFunctions[p.name+"."+fn.name] == "" {
				say("%s:%d: %s has %d lines: a function does one thing. Split it, or give the reason in longFunctions", f.path, fn.line, fn.name, fn.lines)
			}
		}
	}
	for _, receiver := range slices.Sorted(maps.Keys(p.methods)) {
		if n := p.methods[receiver]; n > maxMethods {
			say("%s: %s has %d methods: split it by responsibility, each part with its own fields", p.name, receiver, n)
		}
	}
}

// checkFile checks the rules for a file that is not a test. Known says that its package has a row
// in arrows, which is allowed.
func (p pkg) checkFile(f file, allowed []string, known bool, say func(format string, args ...any)) {
	if f.clause != "main" {
		for _, exit := range f.exits {
			say("%s:%s. Return an error", f.path, exit)
		}
	}
	for _, use := range f.sockets {
		if !slices.Contains(sockets, p.name) {
			say("%s:%s: %s may not touch a socket, only %s may", f.path, use, p.name, strings.Join(sockets, ", "))
		}
	}
	for _, imported := range f.imports {
		if ours, ok := strings.CutPrefix(imported, module+"/"); ok && known &&
			!slices.Contains(allowed, ours) && !slices.Contains(allowed, anything) {
			say("%s: %s may not import %s. Declare the small interface that it needs; internal/node connects the two", f.path, p.name, ours)
		}
		for prefix, doors := range fenced {
			if strings.HasPrefix(imported, prefix) && !slices.Contains(doors, p.name) {
				say("%s: %s may not import %s, only %s may", f.path, p.name, imported, strings.Join(doors, " and "))
			}
		}
	}
}

// introduces reports whether the file has the package comment.
func introduces(f file) bool {
	if f.isTest {
		return false
	}
	if f.clause == "main" {
		return strings.TrimSpace(f.doc) != ""
	}
	return strings.HasPrefix(f.doc, "Package "+f.clause+" ")
}
