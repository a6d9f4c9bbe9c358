// Package yamlfile reads an operator's YAML file strictly: an unknown, missing
// or repeated key, a value of another kind, an anchor, alias or tag is a
// *LineError, which says where and what to do.
package yamlfile

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

const (
	// MaxFile is the size of the largest file that is read, in bytes.
	MaxFile  = 1 << 20
	maxDepth = 16 // of brackets, which is what YAML nests by without indenting
)

// LineError is what is wrong with a file, where, and what to do.
type LineError struct {
	File         string
	Line, Column int // from 1; 0 when the whole file is meant
	Reason, Hint string
}

func (e *LineError) Error() string {
	s := e.File
	if e.Line > 0 {
		s = fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Column)
	}
	s += ": " + e.Reason
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// File is one file under reading; its methods take values off the tree.
type File string

// Document parses the one YAML document of the text; hint says what it holds.
func (f File) Document(text []byte, hint string) (_ ast.Node, err error) {
	if len(text) > MaxFile {
		return nil, &LineError{File: string(f), Reason: "larger than 1 MiB"}
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, &LineError{File: string(f), Reason: "contains a NUL byte"}
	}
	if deepest(text) > maxDepth {
		return nil, &LineError{File: string(f), Reason: "nested too deeply"}
	}
	defer func() { // the YAML library has panicked on odd input before
		if recover() != nil {
			err = &LineError{File: string(f), Reason: "not YAML"}
		}
	}()
	doc, err := parser.ParseBytes(text, 0)
	if err != nil {
		le := &LineError{File: string(f), Reason: "not YAML"}
		var ye yaml.Error
		if errors.As(err, &ye) && ye.GetToken() != nil && ye.GetToken().Position != nil {
			le.Line, le.Column, le.Reason = ye.GetToken().Position.Line, ye.GetToken().Position.Column, ye.GetMessage()
		}
		return nil, le
	}
	if len(doc.Docs) != 1 || doc.Docs[0].Body == nil {
		return nil, &LineError{File: string(f), Reason: "want exactly one document", Hint: hint}
	}
	return doc.Docs[0].Body, nil
}

func deepest(text []byte) (most int) {
	depth := 0
	for _, c := range text {
		switch c {
		case '[', '{':
			depth++
			most = max(most, depth)
		case ']', '}':
			depth--
		case '\n': // a quoted bracket does not count for ever
			depth = max(depth, 0)
		}
	}
	return most
}
